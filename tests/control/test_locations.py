"""Where things lie: pure decisions over an environment."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from gateway.locations import (
    NoConfiguration,
    NotOurs,
    claim,
    control_socket,
    default_config,
    find_sockets,
    runtime_dir,
    share,
)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"RUNTIME_DIRECTORY": "/run/gateway", "XDG_RUNTIME_DIR": "/run/user/7"}, "/run/gateway"),
        ({"RUNTIME_DIRECTORY": "/run/gateway:/run/other"}, "/run/gateway"),
        ({"RUNTIME_DIRECTORY": "", "XDG_RUNTIME_DIR": "/run/user/7"}, "/run/user/7/gateway/pi"),
        ({"XDG_RUNTIME_DIR": "/run/user/7", "TMPDIR": "/var/tmp"}, "/run/user/7/gateway/pi"),
        ({"TMPDIR": "/var/tmp"}, "/var/tmp/gateway-7/pi"),
        ({}, "/tmp/gateway-7/pi"),
    ],
)
def test_the_runtime_directory_follows_systemd_then_the_session_then_the_temporary_directory(
    environ: dict[str, str], expected: str
) -> None:
    assert runtime_dir("pi", environ, uid=7) == Path(expected)
    assert control_socket("pi", environ, uid=7) == Path(expected) / "control.sock"


def test_the_first_configuration_that_exists_is_used() -> None:
    cwd, there = Path("/home/pi"), set[Path]()
    last, second, first = Path("/etc/gateway/gateway.yaml"), cwd / "config/gateway.yaml", cwd / "gateway.yaml"
    for path in (last, second, first):
        there.add(path)
        assert default_config({}, cwd, exists=there.__contains__) == path
    there.add(Path("/x.yaml"))
    assert default_config({"GATEWAY_CONFIG": "/x.yaml"}, cwd, exists=there.__contains__) == Path("/x.yaml")


def test_without_any_configuration_every_place_is_named() -> None:
    with pytest.raises(NoConfiguration) as caught:
        default_config({}, Path("/home/pi"), exists=lambda _: False)
    for place in ("/home/pi/gateway.yaml", "/home/pi/config/gateway.yaml", "/etc/gateway/gateway.yaml", "--config"):
        assert place in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_configuration_that_the_environment_names_is_not_silently_replaced() -> None:
    with pytest.raises(NoConfiguration, match=r"no /x\.yaml, which \$GATEWAY_CONFIG names"):
        default_config({"GATEWAY_CONFIG": "/x.yaml"}, Path("/"), exists=lambda path: path != Path("/x.yaml"))


def _socket(directory: Path) -> Path:
    directory.mkdir(parents=True)
    path = directory / "control.sock"
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
    return path


def test_sockets_are_found_system_first_then_the_user_s_own(tmp_path: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(tmp_path / "x"), "TMPDIR": str(tmp_path)}
    system = _socket(tmp_path / "run")
    instance = _socket(tmp_path / "run" / "two")
    session = [_socket(tmp_path / "x" / "gateway" / name) for name in ("a", "b-sim")]
    temporary = _socket(tmp_path / f"gateway-{os.getuid()}" / "c")
    (tmp_path / "x" / "gateway" / "empty").mkdir()
    assert find_sockets(environ, system=tmp_path / "run") == (system, instance, *session, temporary)


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(tmp_path / "x"), "TMPDIR": str(tmp_path)}
    assert find_sockets(environ, system=tmp_path / "run") == ()


def test_a_directory_that_somebody_else_prepared_is_not_searched(tmp_path: Path) -> None:
    stranger = os.getuid() + 1
    _socket(tmp_path / f"gateway-{stranger}" / "trap")
    assert find_sockets({"TMPDIR": str(tmp_path)}, uid=stranger, system=tmp_path / "run") == ()


def test_claim_makes_a_private_directory_and_accepts_it_again(tmp_path: Path) -> None:
    directory = tmp_path / "gateway-7" / "pi"
    assert claim(directory) == directory
    assert claim(directory) == directory
    assert [path.stat().st_mode & 0o777 for path in (directory, directory.parent)] == [0o700, 0o700]


def test_claim_refuses_what_belongs_to_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "pi").mkdir()
    with pytest.raises(NotOurs, match=f"belongs to user {os.getuid()}, expected a directory of user"):
        claim(tmp_path / "pi", uid=os.getuid() + 1)


def test_claim_refuses_a_link_and_a_directory_that_anybody_may_write(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(NotOurs, match="anybody may write"):
        claim(tmp_path / "open")
    with pytest.raises(NotOurs, match="anybody may write"):
        claim(tmp_path / "open" / "pi")
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(NotOurs, match="expected a directory"):
        claim(tmp_path / "link")


def test_a_checkout_shares_the_folders_beside_the_package() -> None:
    root = Path(__file__).parents[2]
    assert share("config") == root / "config"
    assert share("systemd") == root / "systemd"
