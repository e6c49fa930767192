"""Where things lie on a machine: the control socket, the configuration, the files that ship with the gateway.

Everything that decides takes the environment and the user as arguments; nothing here opens or changes a file, except
`claim`, which makes the directory that the service asks for.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path

from gateway.errors import GatewayError

SOCKET_NAME = "control.sock"
SYSTEM_RUNTIME = Path("/run/gateway")
SYSTEM_CONFIG = Path("/etc/gateway/gateway.yaml")


class NoConfiguration(GatewayError):
    """None of the usual places has a configuration file."""

    exit_code = 2


class NotOurs(GatewayError):
    """A directory that the gateway wants to use belongs to somebody else."""


def runtime_dir(gateway_id: str, environ: Mapping[str, str], *, uid: int | None = None) -> Path:
    """The directory for what lives only as long as the service runs; `claim` makes it.

    systemd names one in $RUNTIME_DIRECTORY (a list with colons, of which the first is ours). A person's own gateway
    gets one below $XDG_RUNTIME_DIR, or below the temporary directory where there is no login session.
    """
    given = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    return Path(given) if given else _user_dirs(environ, _uid(uid))[0] / gateway_id


def control_socket(gateway_id: str, environ: Mapping[str, str], *, uid: int | None = None) -> Path:
    """The socket on which the gateway of that id answers."""
    return runtime_dir(gateway_id, environ, uid=uid) / SOCKET_NAME


def find_sockets(
    environ: Mapping[str, str], *, uid: int | None = None, system: Path = SYSTEM_RUNTIME
) -> tuple[Path, ...]:
    """Every control socket that this user may mean, dead ones included, in the order of preference.

    Directories below the shared temporary directory count only where they belong to the user: anybody could have made
    them. A system directory that the user may not look into is listed too, so that connecting can say so.
    """
    own = _uid(uid)
    roots = [system, *(root for root in _user_dirs(environ, own) if _owner(root) == own)]
    return tuple(dict.fromkeys(path for root in roots for path in _sockets_below(root)))


def default_config(environ: Mapping[str, str], cwd: Path, *, exists: Callable[[Path], bool] = Path.exists) -> Path:
    """The configuration to use where the command line names none: the first of the usual places that has one.

    Raises:
        NoConfiguration: there is none; the message names every place.
    """
    given = environ.get("GATEWAY_CONFIG")
    if given:
        if exists(Path(given)):
            return Path(given)
        raise NoConfiguration(f"there is no {given}, which $GATEWAY_CONFIG names: correct it, or use --config FILE")
    places = (cwd / "gateway.yaml", cwd / "config" / "gateway.yaml", SYSTEM_CONFIG)
    found = next(filter(exists, places), None)
    if found is None:
        looked = ", ".join(map(str, places))
        raise NoConfiguration(f"no configuration: looked for {looked}; use --config FILE, or set $GATEWAY_CONFIG")
    return found


def share(name: str) -> Path:
    """A folder of files that ship with the gateway: `config` or `systemd`.

    An installed wheel carries them as package data; in a checkout they stand beside the package.
    """
    package = Path(str(files("gateway")))
    shipped = package / "_data" / name
    return shipped if shipped.is_dir() else package.parent / name


def claim(directory: Path, *, uid: int | None = None) -> Path:
    """Make `directory` for this user alone (0700), or accept the one that is there.

    Raises:
        NotOurs: the directory, or its parent where that was not made by the system, belongs to somebody else, or
            anybody may write to it. Whoever owns it could answer in the gateway's name.
    """
    own = _uid(uid)
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.mkdir(mode=0o700, exist_ok=True)
    for path, owners in ((directory, (own,)), (directory.parent, (own, 0))):
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners:
            raise NotOurs(
                f"{path} belongs to user {found.st_uid}, expected a directory of user {own}: "
                "remove it, or set XDG_RUNTIME_DIR to a directory of your own"
            )
        if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
            raise NotOurs(f"anybody may write to {path}: expected that only user {own} may (chmod o-w {path})")
    return directory


def _uid(uid: int | None) -> int:
    return os.getuid() if uid is None else uid


def _user_dirs(environ: Mapping[str, str], uid: int) -> list[Path]:
    """Parents of a user's runtime directories; a new gateway uses the first.

    The second is there because a login without $XDG_RUNTIME_DIR (su, cron) should find what one with it has started.
    """
    session = environ.get("XDG_RUNTIME_DIR")
    temporary = Path(environ.get("TMPDIR") or "/tmp") / f"gateway-{uid}"  # noqa: S108 - `claim` checks the owner
    if session:
        return [Path(session) / "gateway", temporary]
    return [temporary, Path(f"/run/user/{uid}/gateway")]


def _owner(path: Path) -> int | None:
    try:
        return path.lstat().st_uid
    except OSError:
        return None


def _sockets_below(root: Path) -> Iterator[Path]:
    """`<root>/control.sock` and `<root>/<id>/control.sock`, where there is something of that name."""
    try:
        direct = root / SOCKET_NAME
        direct.lstat()
        yield direct
    except PermissionError:
        yield direct  # we may not look: connecting says what to do about it
    except OSError:
        pass
    yield from sorted(root.glob(f"*/{SOCKET_NAME}"))
