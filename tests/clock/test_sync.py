"""Who is asked whether the clock is synchronised, and who is believed."""

import shutil
import socket
import struct
import subprocess
import threading
from contextlib import contextmanager
from time import monotonic

import pytest

from gateway.sync import Synchronisation, Tracking, is_guest, kernel_says, leap_says
from tests.brokers import free_port

CHRONYD = shutil.which("chronyd", path="/usr/sbin:/usr/bin:/sbin")


def asked(tmp_path, *, timesyncd=None, chrony=False, kernel=None, guest=False, port=9):
    folder = tmp_path / "timesync"
    if timesyncd is not None:
        folder.mkdir()
        if timesyncd:
            (folder / "synchronized").touch()
    if chrony:
        (tmp_path / "chrony").mkdir()
    return Synchronisation(folder, tmp_path / "chrony", chrony_port=port, kernel=lambda: kernel, guest=guest)


@pytest.mark.parametrize(
    ("sources", "answer"),
    [
        ({"timesyncd": True, "kernel": False}, True),
        ({"timesyncd": False, "kernel": True}, False),
        ({"kernel": True}, True),
        ({"kernel": False}, False),
        ({"kernel": True, "guest": True}, True),
        ({"kernel": False, "guest": True}, None),
        ({"kernel": None}, None),
        ({"kernel": False, "chrony": True}, None),
        ({"kernel": True, "chrony": True}, True),
    ],
)
def test_the_first_source_that_knows_is_believed(tmp_path, sources, answer):
    assert asked(tmp_path, **sources, port=free_port())() is answer


@contextmanager
def chronyd_that_says(leap):
    """A UDP socket that answers as chronyd does, with this leap status."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        requests = []

        def serve():
            while (request := server.recvfrom(1024))[0] != b"end":
                requests.append(request[0])
                reply = struct.pack("!BBxxHHH18x4x20xHH48x", 6, 2, 33, 5, 0, 3, leap)
                server.sendto(reply, request[1])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1], requests
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.sendto(b"end", server.getsockname())
            thread.join(5)


@pytest.mark.parametrize(("leap", "answer"), [(0, True), (1, True), (2, True), (3, False)])
def test_chrony_is_asked_before_the_kernel_and_again_each_time(tmp_path, leap, answer):
    with chronyd_that_says(leap) as (port, requests):
        ask = asked(tmp_path, chrony=True, kernel=not answer, port=port)
        assert ask() is answer
        deadline = monotonic() + 5
        while len(requests) < 2:
            assert monotonic() < deadline
        wait_for_answer(ask, answer)
        ask._tracking.close()
    assert {len(request) for request in requests} == {104}, "shorter requests get no answer: they could amplify"


def wait_for_answer(ask, answer):
    deadline = monotonic() + 5
    while ask._tracking.ask() is not answer:
        assert monotonic() < deadline


def test_what_is_no_answer_of_chrony_says_nothing():
    good = struct.pack("!BBxxHHH18x4x20xHH48x", 6, 2, 33, 5, 0, 3, 0)
    assert leap_says(good) is True
    for wrong in (b"", good[:55], b"\x05" + good[1:], good[:8] + b"\x00\x02" + good[10:], b"\xff" * 104):
        assert leap_says(wrong) is None


@pytest.mark.skipif(CHRONYD is None, reason="needs Debian's chrony")
@pytest.mark.parametrize(("more", "answer"), [("", False), ("local stratum 10\n", True)])
def test_the_real_chronyd_answers(tmp_path, more, answer):
    port = free_port()
    tmp_path.chmod(0o700)
    (tmp_path / "conf").write_text(
        f"cmdport {port}\nport 0\npidfile {tmp_path}/pid\nbindcmdaddress 127.0.0.1\n"
        f"bindcmdaddress {tmp_path}/sock\n{more}"
    )
    command = [CHRONYD, "-x", "-d", "-u", "root", "-f", str(tmp_path / "conf")]  # -x: leaves the machine's clock alone
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        tracking, deadline = Tracking(port), monotonic() + 10
        try:
            while (said := tracking.ask()) is not answer:
                assert monotonic() < deadline, said
        finally:
            tracking.close()
            running.terminate()


def test_the_kernel_answers_or_may_not_be_asked():
    assert kernel_says() in {True, False, None}


def test_a_container_and_a_virtual_machine_are_guests(tmp_path, monkeypatch):
    monkeypatch.delenv("container", raising=False)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor: 0\nmodel name: ARMv7\n")
    assert not is_guest(tmp_path)
    (tmp_path / "proc/cpuinfo").write_text("processor: 0\nflags: fpu hypervisor sse\n")
    assert is_guest(tmp_path)
    (tmp_path / "proc/cpuinfo").write_text("processor: 0\n")
    (tmp_path / ".dockerenv").touch()
    assert is_guest(tmp_path)
