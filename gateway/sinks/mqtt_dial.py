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
from typing import NamedTuple

from gateway.errors import LinkError
from gateway.sinks.mqtt_options import Address

DIAL_TIMEOUT_S = 3.0
PREVIOUS_WAIT_S = 0.5
"""How long a new attempt waits for the thread of the one before."""


class NoHandshake(OSError):
    """The other side closed the connection instead of shaking hands."""


class NoWebSocket(OSError):
    """The other side speaks HTTP at best, and no WebSocket with MQTT in it."""


class Papers(NamedTuple):
    """Files for TLS: whom we trust, and who we are. None is the system's list, and nobody."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


class Dialler:
    """Opens connections to one address, one at a time."""

    def __init__(self, address: Address, papers: Papers | None = None) -> None:
        self.address = address
        self._papers = papers or Papers()
        self._attempt: _Attempt | None = None

    async def dial(self) -> socket.socket:
        """A connected socket, TLS spoken where the address asks for it.

        Raises:
            LinkError: not reachable, not trusted, or the thread of the last attempt still hangs.
        """
        await self._end_of_previous()
        attempt = self._attempt = _Attempt(self.address, self._papers, asyncio.get_running_loop())
        return await attempt.outcome()

    async def _end_of_previous(self) -> None:
        if self._attempt is None:
            return
        try:
            async with asyncio.timeout(PREVIOUS_WAIT_S):
                await self._attempt.ended.wait()
        except TimeoutError:
            raise LinkError(f"{self.address}: the last attempt still hangs in the name look-up or handshake") from None


class _Attempt:
    """One thread, one socket. Whoever gives up closes what the thread still brings."""

    def __init__(self, address: Address, papers: Papers, loop: asyncio.AbstractEventLoop) -> None:
        self.ended = asyncio.Event()
        self._address, self._papers, self._loop = address, papers, loop
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
            connected = _reach(self._address, self._papers, self._loop.time, self._hold)
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
    address: Address, papers: Papers, now_s: Callable[[], float], hold: Callable[[socket.socket], None]
) -> socket.socket:
    """Blocks. TCP, then TLS and WebSocket where the address asks for them."""
    context = _trust(papers) if address.tls else None
    opened = _connect(address, now_s, hold)
    if context is not None:
        opened = _secure(opened, context, address.host, hold)
    if address.path is not None:
        from gateway.sinks.mqtt_websocket import shake_hands  # noqa: PLC0415 - only where `url:` asks for one

        opened.settimeout(DIAL_TIMEOUT_S)
        try:
            shake_hands(opened, str(address), address.path)
        except BaseException:
            opened.close()
            raise
    return opened


def _connect(address: Address, now_s: Callable[[], float], hold: Callable[[socket.socket], None]) -> socket.socket:
    """All addresses of the name share the time, so that a dead first one leaves some for the next."""
    deadline_s = now_s() + DIAL_TIMEOUT_S
    found = socket.getaddrinfo(_plain(address.host), address.port, type=socket.SOCK_STREAM)
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
            return opened
    raise trouble


def _plain(host: str) -> str | bytes:
    """The same name, in bytes where it is ASCII: Python then loads no tables for names in other scripts."""
    return host.encode() if host.isascii() else host


def _trust(papers: Papers) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=papers.ca)
    except ssl.SSLError:
        raise ValueError(f"`ca`: {papers.ca} holds no certificate in PEM form") from None
    except OSError as error:
        raise ValueError(f"`ca`: cannot read {papers.ca}: {error.strerror}") from None
    if papers.cert is not None:
        _identify(context, papers.cert, papers.key or papers.cert)
    return context


def _identify(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    """Our own certificate, which the broker may ask for."""
    for name, file in (("cert", cert), ("key", key)):
        try:
            with file.open("rb"):
                pass
        except OSError as error:
            raise ValueError(f"`{name}`: cannot read {file}: {error.strerror}") from None
    try:
        # Without a passphrase at hand OpenSSL would ask for one on the terminal.
        context.load_cert_chain(cert, key, password=lambda: b"")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ValueError(f"`key`: {key} is not the key of the certificate in {cert}") from None
        raise ValueError(
            f"`cert`, `key`: {cert} and {key} hold no certificate and key in PEM form, or the key has a passphrase"
        ) from None


def _secure(
    opened: socket.socket, context: ssl.SSLContext, host: str, hold: Callable[[socket.socket], None]
) -> ssl.SSLSocket:
    opened.settimeout(DIAL_TIMEOUT_S)
    try:
        secure = context.wrap_socket(opened, server_hostname=_plain(host), do_handshake_on_connect=False)
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
        case NoWebSocket():
            text = f"no WebSocket there: {trouble}; is this the broker's WebSocket port, and the path as in `url:`?"
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
