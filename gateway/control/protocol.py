"""What is said on the control socket: JSON lines, one request or answer each.

    -> {"id": 1, "op": "status", "args": {}}          ask; `id` is the asker's choice, `args` may be left out
    <- {"id": 1, "ok": {...}}                         the one answer of a call, and the end of a stream
    <- {"id": 1, "item": {...}}                       a stream's next part
    <- {"id": 1, "error": {"message": "...", "exit_code": 1}}
    -> {"id": 1, "op": "cancel"}                      end what runs under that id; answer: ok {"cancelled": true}

An error whose request cannot be told has `id` null. Closing the connection ends its streams. The bounds below hold for
every client, so that one that goes wrong harms only itself.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from gateway.errors import ControlError, GatewayError

REQUEST_BYTES_MAX: Final = 64 * 1024
ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
CONNECTIONS_MAX: Final = 32
REQUESTS_MAX: Final = 8
WRITE_TIMEOUT_S: Final = 10.0
PATH_BYTES_MAX: Final = 107
"""Linux keeps 108 bytes for the path of a Unix socket, the closing NUL included (unix(7))."""

CANCEL: Final = "cancel"

Call = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""An operation with one answer: its arguments -> the answer. A GatewayError tells the client what was wrong."""

Stream = Callable[[dict[str, Any]], AsyncIterator[dict[str, Any]]]
"""An operation with many answers: its arguments -> an asynchronous generator, closed when the client has enough."""

Presence = Literal["live", "dead", "denied"]


class Request(msgspec.Struct, frozen=True):
    """A question."""

    id: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    op: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    args: dict[str, Any] = {}


class Refusal(msgspec.Struct):
    """Why a request failed. `exit_code` is what a command should return for it."""

    message: str
    exit_code: int = 1


class Answer(msgspec.Struct, omit_defaults=True):
    """One line from the service: exactly one of `ok`, `item` and `error`."""

    id: int | None
    ok: dict[str, Any] | None = None
    item: dict[str, Any] | None = None
    error: Refusal | None = None


class BadRequest(ControlError):
    """A line that is no request. `id` is the request's, None where it cannot be told."""

    def __init__(self, message: str, id_: int | None = None) -> None:
        self.id = id_
        super().__init__(message)


class _OnlyId(msgspec.Struct):
    id: int


def parse_request(line: bytes) -> Request:
    """The request in one line.

    Raises:
        BadRequest: it is none; says what was expected.
    """
    try:
        return msgspec.json.decode(line, type=Request)
    except msgspec.ValidationError as error:
        expected = '{"id": 1, "op": "status", "args": {}}'
        raise BadRequest(f"not a request: {error}; expected {expected}", _id_of(line)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"not JSON: {error}") from None


def _id_of(line: bytes) -> int | None:
    try:
        return msgspec.json.decode(line, type=_OnlyId).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def refusal_of(error: Exception, op: str) -> Refusal:
    """What a client is told about an error: ours in their own words, a defect only by its kind."""
    if isinstance(error, GatewayError):
        return Refusal(str(error), error.exit_code)
    return Refusal(f"{op!r} failed in the gateway: {type(error).__name__}; the gateway's journal has the details")


def check_path(path: Path) -> str:
    """The path as the system wants it.

    Raises:
        ControlError: too long for a Unix socket.
    """
    length = len(os.fsencode(path))
    if length > PATH_BYTES_MAX:
        raise ControlError(
            f"the control socket's path has {length} bytes, and the system allows {PATH_BYTES_MAX}: {path}; "
            "choose a shorter `gateway.id`, or set XDG_RUNTIME_DIR to a shorter directory"
        )
    return str(path)


def presence(path: Path, timeout_s: float = 1.0) -> Presence:
    """Whether somebody listens on that socket: `live`, `dead`, or `denied` where this user may not know."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(timeout_s)
        try:
            probe.connect(check_path(path))
        except PermissionError:
            return "denied"
        except OSError as error:
            return "dead" if error.errno in {errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR} else "live"
    return "live"
