"""Reaching a broker: name look-up, TCP and TLS handshake, on a daemon thread because all three block.

A look-up may hang far longer than anybody waits for it, and no call can end it. So a thread that hangs is left alone,
never joined, and while it hangs no second one is started: one sink never owns more than one.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

from gateway.errors import LinkError
from gateway.sinks.mqtt_options import Address

DIAL_TIMEOUT_S = 3.0
PREVIOUS_WAIT_S = 0.5
"""How long a new attempt waits for the thread of the one before."""


class NoHandshake(OSError):
    """The other side closed the connection instead of shaking hands."""


class Dialler:
    """Opens connections to one address, one at a time."""

    def __init__(self, address: Address, ca: Path | None) -> None:
        self._address = address
        self._ca = ca
        self._attempt: _Attempt | None = None

    async def dial(self) -> socket.socket:
        """A connected socket, TLS spoken where the address asks for it.

        Raises:
            LinkError: not reachable, not trusted, or the thread of the last attempt still hangs.
        """
        await self._end_of_previous()
        attempt = self._attempt = _Attempt(self._address, self._ca, asyncio.get_running_loop())
        return await attempt.outcome()

    async def _end_of_previous(self) -> None:
        if self._attempt is None:
            return
        try:
            async with asyncio.timeout(PREVIOUS_WAIT_S):
                await self._attempt.ended.wait()
        except TimeoutError:
            raise LinkError(f"{self._address}: the last attempt still hangs in the name look-up or handshake") from None


class _Attempt:
    """One thread, one socket. Whoever gives up closes what the thread still brings."""

    def __init__(self, address: Address, ca: Path | None, loop: asyncio.AbstractEventLoop) -> None:
        self.ended = asyncio.Event()
        self._address, self._ca, self._loop = address, ca, loop
        self._result: asyncio.Future[socket.socket] = loop.create_future()
        self._lock = threading.Lock()
        self._open: socket.socket | None = None
        self._given_up = False
        threading.Thread(target=self._run, name=f"mqtt-dial-{address.host}", daemon=True).start()

    async def outcome(self) -> socket.socket:
        try:
            return await self._result
        except asyncio.CancelledError:
            self._give_up()
            raise

    def _give_up(self) -> None:
        if self._result.done() and not self._result.cancelled() and self._result.exception() is None:
            self._result.result().close()  # it arrived in the very turn in which we were cancelled
        with self._lock:
            self._given_up = True
            if self._open is not None:
                with contextlib.suppress(OSError):  # not yet connected, or gone already
                    self._open.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits inside connect or handshake

    def _run(self) -> None:
        connected: socket.socket | None = None
        error: Exception | None = None
        try:
            connected = _reach(self._address, self._ca, self._loop.time, self._hold)
        except (OSError, ValueError) as trouble:
            error = LinkError(explain(trouble, self._address))
        except Exception as bug:  # noqa: BLE001 - the edge of the thread: whoever waits must hear of it
            error = bug
        try:
            self._loop.call_soon_threadsafe(self._finish, connected, error)
        except RuntimeError:  # the loop is closed: nobody waits any more
            if connected is not None:
                connected.close()

    def _hold(self, opened: socket.socket) -> None:
        """Remember the socket so that giving up can wake the thread."""
        with self._lock:
            self._open = opened
            if self._given_up:
                raise TimeoutError("given up")

    def _finish(self, connected: socket.socket | None, error: Exception | None) -> None:
        self.ended.set()
        if self._result.done():
            if connected is not None:
                connected.close()
        elif connected is not None:
            self._result.set_result(connected)
        else:
            self._result.set_exception(error or LinkError(f"{self._address}: no connection"))


def _reach(
    address: Address, ca: Path | None, now_s: Callable[[], float], hold: Callable[[socket.socket], None]
) -> socket.socket:
    """Blocks. All addresses of the name share the time, so that a dead first one leaves some for the next."""
    context = _trust(ca) if address.tls else None
    deadline_s = now_s() + DIAL_TIMEOUT_S
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    trouble: OSError = TimeoutError("no address answered")
    for left, (family, kind, protocol, _, where) in zip(range(len(found), 0, -1), found, strict=True):
        remaining_s = deadline_s - now_s()
        if remaining_s <= 0:
            break
        opened = socket.socket(family, kind, protocol)
        try:
            opened.settimeout(remaining_s / left)
            hold(opened)
            opened.connect(where)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            opened.close()
            trouble = error
        else:
            return opened if context is None else _secure(opened, context, address.host, hold)
    raise trouble


def _trust(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except ssl.SSLError:
        raise ValueError(f"`ca`: {ca} holds no certificate in PEM form") from None
    except OSError as error:
        raise ValueError(f"`ca`: cannot read {ca}: {error.strerror}") from None


def _secure(
    opened: socket.socket, context: ssl.SSLContext, host: str, hold: Callable[[socket.socket], None]
) -> ssl.SSLSocket:
    opened.settimeout(DIAL_TIMEOUT_S)
    try:
        secure = context.wrap_socket(opened, server_hostname=host, do_handshake_on_connect=False)
    except (OSError, ValueError):
        opened.close()
        raise
    try:
        hold(secure)
        secure.do_handshake()
    except ConnectionError as error:
        secure.close()
        raise NoHandshake from error
    except OSError:
        secure.close()
        raise
    return secure


def explain(trouble: Exception, address: Address) -> str:
    """What went wrong on the way to `address`, and what to do."""
    match trouble:
        case ssl.SSLCertVerificationError():
            text = (
                f"the broker's certificate is not trusted: {trouble.verify_message.rstrip('.')}{_trust_advice(trouble)}"
            )
        case NoHandshake() | ssl.SSLError():
            why = getattr(trouble, "reason", None) or "connection closed"
            text = f"the TLS handshake failed ({why}): is this the broker's TLS port, and not that of mqtt://?"
        case socket.gaierror():
            text = f"the name cannot be looked up: {trouble.strerror}"
        case ConnectionRefusedError():
            text = "nothing listens there (connection refused)"
        case TimeoutError():
            text = f"no answer within {DIAL_TIMEOUT_S:g} s"
        case OSError():
            text = trouble.strerror or str(trouble)
        case _:
            text = str(trouble)
    return f"{address}: {text}"


def _trust_advice(trouble: ssl.SSLCertVerificationError) -> str:
    if trouble.verify_code in {62, 64}:  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
        return "; use in `url:` a name that the certificate bears"
    return "; name the authority that signed it in `ca:`"
