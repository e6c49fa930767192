"""The socket as paho sees it. What arrives is read once and cut into packets; what leaves is gathered and written once.

Through this, a turn of the event loop costs one `recv` and one `send`, however many messages it moved.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import TYPE_CHECKING

from gateway.sinks.mqtt_packets import Ack, Incoming

if TYPE_CHECKING:
    from gateway.sinks.mqtt_websocket import Frames

READ_BYTES = 65536

_LATER = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Stream:
    """A non-blocking socket, plain or TLS, with a buffer in each direction. `frames` packs both for a WebSocket.

    Our side calls `fetch`, `send` and `push`; paho's side `recv`, `send` and `close`. What waits to leave is bounded by
    the session's window. `trouble` says in words why the connection ended, for paho keeps that to itself.
    """

    def __init__(self, connected: socket.socket, frames: Frames | None = None) -> None:
        connected.setblocking(False)
        self._socket = connected
        self._frames = frames
        self._incoming = Incoming()
        self._for_paho = b""
        self._at = 0
        self._outgoing = bytearray()
        self._framed = bytearray()
        self.trouble = ""

    def fetch(self) -> list[Ack]:
        """Reads what has arrived. Acknowledgements are returned, the rest is there for paho.

        One `recv` is enough: what is left in the kernel wakes us again, and TLS keeps nothing back of a record, which
        is at most 16 KiB.

        Raises:
            NotMqtt: what arrived is no MQTT.
        """
        acks, others = self._incoming.feed(self._read())
        self._for_paho += others
        return acks

    def _read(self) -> bytes:
        try:
            arrived = self._socket.recv(READ_BYTES)
        except _LATER:
            return b""
        except OSError as error:
            self.trouble = error.strerror or str(error)
            return b""
        if not arrived:
            self.trouble = "the broker closed the connection"
        return arrived if self._frames is None else self._unpack(self._frames, arrived)

    def _unpack(self, frames: Frames, arrived: bytes) -> bytes:
        """What the frames hold. Pings are answered with the next push."""
        payload, reply = frames.unpack(arrived)
        self._framed += reply
        if frames.ended and not self.trouble:
            self.trouble = f"the broker closed the connection ({frames.ended})"
        return payload

    @property
    def owing(self) -> bool:
        """Whether an answer waits to be pushed: a WebSocket's ping was heard."""
        return bool(self._framed)

    @property
    def for_paho(self) -> bool:
        """Whether paho has something to read, the end included."""
        return bool(self._for_paho) or bool(self.trouble)

    def recv(self, buffer_size: int) -> bytes:
        """At most `buffer_size` bytes; none when the connection has ended.

        Raises:
            BlockingIOError: nothing for paho has arrived.
        """
        start = self._at
        self._at = min(start + buffer_size, len(self._for_paho))
        taken = self._for_paho[start : self._at]
        if self._at == len(self._for_paho):
            self._for_paho, self._at = b"", 0
        if not taken and not self.trouble:
            raise BlockingIOError
        return taken

    def send(self, buffer: bytes | bytearray) -> int:
        self._outgoing += buffer
        return len(buffer)

    def push(self) -> bool:
        """Hand what was gathered to the kernel. False when it takes no more for now.

        Raises:
            OSError: the connection is gone.
        """
        leaving = self._outgoing
        if self._frames is not None:
            if self._outgoing:
                self._framed += self._frames.pack(self._outgoing)
                self._outgoing.clear()
            leaving = self._framed
        while leaving:
            try:
                sent = self._socket.send(leaving)
            except _LATER:
                return False
            del leaving[:sent]
        return True

    def close(self) -> None:
        """Closes after one last attempt to push: a DISCONNECT should leave."""
        if self._socket.fileno() >= 0:
            with contextlib.suppress(OSError):
                self.push()
        self.drop()

    def drop(self) -> None:
        """Closes without sending what waits."""
        self._outgoing.clear()
        self._framed.clear()
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def setblocking(self, flag: bool) -> None:
        """It never blocked: paho asks for what is so already."""
