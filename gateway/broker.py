"""An MQTT broker for the demo and the tests: found, started on a free loopback port, and stopped again. Needs no root.

Debian's mosquitto is taken where it is installed. Elsewhere a wheel must bring one (the extra `demo`). Two do; measured
2026-11 on 2 cores of x86_64, Python 3.11, paho-mqtt 2.2, 5 000 events of 308 bytes at QoS 1 and one subscriber:

                                  mosquitto 2.0.11   iotcore 0.4.0 (rumqttd 0.20)   amqtt 0.12.1
    installed, distributions      1 MB, Debian       15 MB, 1                       21 MB, 24
    wheels aarch64 / armv7l       Debian / Debian    yes / yes (glibc >= 2.28)      yes / no (its dependencies)
    MQTT 5 with paho              yes                yes                            refused: CONNACK 0x84
    starts to accept after        0.01 s             0.10 s                         0.68 s
    RSS after the run             11 MB              33 MB                          46 MB
    acknowledged at QoS 1         10 400/s           5 800 .. 7 600/s               2 400/s (3.1.1)
    lost, out of order            0, 0               0, 0                           0, 0 (3.1.1)
    retained, will, user props    yes                yes                            retained and will (3.1.1)

So iotcore is the extra. What it lacks beside mosquitto is the reason code "no matching subscribers" (it answers 0).
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.clock import NS_PER_S, Clock, SystemClock
from gateway.errors import GatewayError

HOST = "127.0.0.1"
PAYLOAD_BYTES_MAX = 1_048_576

_START_WITHIN_S = 10.0
_STOP_WITHIN_S = 5.0
_POLL_S = 0.01

_MOSQUITTO_CONF = """\
listener {port} {host}
allow_anonymous true
persistence false
# With the default of 1000 a slow subscriber loses what it was promised. 0, "unlimited", is worse: mosquitto 2.0.11 then
# cuts the link of a publisher that it refused something.
max_queued_messages 1000000
max_inflight_messages 0
log_dest stdout
log_type error
log_type warning
"""

_RUMQTTD_TOML = """\
id = 0

[router]
id = 0
max_connections = 64
max_outgoing_packet_count = 10000
max_segment_size = 104857600
max_segment_count = 10

[v5.1]
name = "mqtt-5"
listen = "{host}:{port}"
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 5000
max_payload_size = {payload_bytes_max}
max_inflight_count = 1000
dynamic_filters = true
"""


class BrokerError(GatewayError):
    """No broker is installed, or it does not start. Says what to do."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One broker program. `found` gives its command up to the configuration file, None where it is not installed."""

    found: Callable[[], list[str] | None]
    version: Callable[[], str]
    config_file: str
    config: str


def _find_mosquitto() -> list[str] | None:
    # Debian installs it in /usr/sbin, which is not on the PATH of an ordinary user.
    path = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    return [path, "-c"] if path else None


def _find_iotcore() -> list[str] | None:
    if find_spec("iotcore") is None:
        return None
    return [sys.executable, "-m", "iotcore", "--log-level", "ERROR", "--config"]


def _mosquitto_version() -> str:
    # `-h` prints the version and exits, with status 3 in 2.0; there is no option that only prints it.
    program = (_find_mosquitto() or ["mosquitto"])[0]
    said = subprocess.run([program, "-h"], capture_output=True, text=True, timeout=_STOP_WITHIN_S, check=False).stdout
    return said.partition("version ")[2].split("\n", 1)[0].strip()


def _iotcore_version() -> str:
    try:
        return version("iotcore")
    except PackageNotFoundError:  # on the import path without its metadata
        return ""


KINDS: Mapping[str, Kind] = {
    "mosquitto": Kind(_find_mosquitto, _mosquitto_version, "mosquitto.conf", _MOSQUITTO_CONF),
    "iotcore": Kind(_find_iotcore, _iotcore_version, "rumqttd.toml", _RUMQTTD_TOML),  # judged by its ending
}
"""In order of preference."""


def find_broker(kind: str | None = None, *, clock: Clock | None = None) -> Broker:
    """A broker that is installed, not yet started: the one named, else the first of `KINDS` that is there.

    Raises:
        BrokerError: none is installed; says how to install one.
    """
    for name in [kind] if kind else KINDS:
        command = KINDS[name].found()
        if command is not None:
            return Broker(name, command, clock or SystemClock())
    wanted = f"the MQTT broker {kind!r}" if kind else "an MQTT broker"
    raise BrokerError(
        f"{wanted} is not installed here. Install Debian's with `sudo apt install mosquitto`, "
        f"or the one that a wheel brings with `{sys.executable} -m pip install 'sensor-event-gateway[demo]'`."
    )


class Broker:
    """One broker on a free port of 127.0.0.1, open to everybody on this machine, with nothing kept on disk.

    A context manager: inside it the broker accepts connections at `url`.
    """

    def __init__(self, kind: str, command: list[str], clock: Clock) -> None:
        self.kind = kind
        self.port = 0
        self._command = command
        self._clock = clock
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._running: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        return self._running.pid if self._running else None

    def describe(self) -> str:
        """Name and version for people: `mosquitto 2.0.11`."""
        return f"{self.kind} {KINDS[self.kind].version()}".rstrip()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it accepts connections.

        Raises:
            BrokerError: it ended by itself or did not accept in time; carries its last words.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="gateway-broker-")
        self.port = free_port()
        try:
            self._launch(Path(self._folder.name))
            self._await_accept()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ask it to end, insist after 5 s, remove its folder. Calling it again is fine."""
        if self._running is not None:
            _end(self._running)
            self._running = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _launch(self, folder: Path) -> None:
        kind = KINDS[self.kind]
        config, said = folder / kind.config_file, folder / "said.txt"
        config.write_text(
            kind.config.format(host=HOST, port=self.port, payload_bytes_max=PAYLOAD_BYTES_MAX), encoding="utf-8"
        )
        with said.open("wb") as output:
            self._running = subprocess.Popen(
                [*self._command, str(config)],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us: the broker must outlive the gateway's last words
            )

    def _await_accept(self) -> None:
        assert self._running is not None
        deadline_ns = self._clock.mono_ns() + round(_START_WITHIN_S * NS_PER_S)
        while not accepts(self.port):
            if self._clock.mono_ns() > deadline_ns:
                raise BrokerError(
                    f"{self.kind} did not accept connections within {_START_WITHIN_S:.0f} s{self._said()}"
                )
            if _ended_within(self._running, _POLL_S):
                raise BrokerError(f"{self.kind} ended with status {self._running.returncode} at start{self._said()}")

    def _said(self) -> str:
        assert self._folder is not None
        words = (Path(self._folder.name) / "said.txt").read_text(encoding="utf-8", errors="replace").strip()
        return f"; its last words: {words[-500:]}" if words else ""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def accepts(port: int) -> bool:
    """Whether somebody accepts connections on that port of 127.0.0.1."""
    try:
        socket.create_connection((HOST, port), timeout=0.5).close()
    except OSError:
        return False
    return True


def _ended_within(running: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        running.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _end(running: subprocess.Popen[bytes]) -> None:
    running.terminate()
    if not _ended_within(running, _STOP_WITHIN_S):
        running.kill()
        running.wait()
