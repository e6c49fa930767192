"""`webhook` and `notify`: an HTTP request for each event, with the event's id as idempotency key.

The id is the same on every attempt and the same for nobody else (`<run>-<offset>`), so a receiver that remembers keys
does a thing once although it may be asked twice.

    answer                                       it is
    -------------------------------------------- ------------------------------------------------------------------
    2xx                                          done
    400 413 414 415 422 431                      the event's fault: dead letter
    429 503 with Retry-After                     a wait, as long as it says, at most 5 min
    any other: 401, 404, 409, 3xx, 5xx ..        the receiver's fault: held, tried again; a dead letter only if others
                                                 pass meanwhile
    none: refused, silent, no such name          tried again, 1 s to 5 min apart

Source: RFC 9110 section 15; draft-ietf-httpapi-idempotency-key-header-06.
"""

from __future__ import annotations

import importlib
import ssl
from collections.abc import Callable, Mapping
from email.header import Header
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from gateway.action import NotifierConfig, NotifyConfig, WebhookConfig, values_of
from gateway.actions.deed import DeedSession, Held, Refused
from gateway.actions.said import Envelopes
from gateway.errors import LinkError
from gateway.event import Event
from gateway.sink import Outgoing, Report, Session
from gateway.template import Template, fill_tree

EVENTS_FAULT: Final = frozenset({400, 413, 414, 415, 422, 431})
RETRY_AFTER_MAX_S: Final = 300.0
NOTIFY_TIMEOUT_S: Final = 10.0
PRIORITY: Final = {"info": 3, "warning": 4, "error": 5, "critical": 5}
MISSING: Final = "webhook and notify need httpx, which is not installed: pip install 'sensor-event-gateway[webhook]'"


class Request(NamedTuple):
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


class Web:
    """A `gateway.sink.Destination` that makes a request of each event. `too_old` says why not to send it any more."""

    def __init__(
        self, name: str, request: Callable[[Event], Request], too_old: Callable[[Event], str], timeout_s: float
    ) -> None:
        self.name = name
        self._request, self._too_old, self._timeout_s = request, too_old, timeout_s
        self._trust: ssl.SSLContext | None = None

    async def connect(self, report: Report) -> Session:
        """Opens nothing yet: each request finds or makes its connection."""
        try:
            httpx: Any = importlib.import_module("httpx")  # 11 MB, for those alone who use it
        except ImportError:
            raise LinkError(MISSING) from None
        # The system's certificates, which an administrator can add to, and not those that a package brings.
        self._trust = self._trust or ssl.create_default_context()
        client = httpx.AsyncClient(timeout=self._timeout_s, verify=self._trust, trust_env=False)

        async def do(outgoing: Outgoing) -> None:
            reason = self._too_old(outgoing.event)
            if reason:
                raise Refused(reason)
            await self._send(httpx, client, self._request(outgoing.event))

        return DeedSession(self.name, do, client.aclose, report)

    async def _send(self, httpx: Any, client: Any, request: Request) -> None:
        where = place(request.url)
        try:
            # The body of an answer is of no interest, and may have any size.
            async with client.stream(
                request.method, request.url, headers=request.headers, content=request.body
            ) as answer:
                status, after = int(answer.status_code), answer.headers.get("retry-after", "")
        except httpx.TimeoutException:
            raise LinkError(f"{where} gave no answer within {self._timeout_s:g} s") from None
        except httpx.TransportError as error:
            raise LinkError(f"{where}: {error or type(error).__name__}") from None
        judge(where, status, after)


def judge(where: str, status: int, retry_after: str) -> None:
    """What an answer means. Returns where it means that the deed is done."""
    if 200 <= status < 300:
        return
    said = f"{where} answered {status}"
    if status in EVENTS_FAULT:
        raise Refused(said)
    if status in {429, 503} and retry_after.isdecimal():
        wait_s = min(float(retry_after), RETRY_AFTER_MAX_S)
        raise LinkError(f"{said}, and asks to wait {wait_s:g} s", retry_after_s=wait_s)
    raise Held(said)


def place(url: str) -> str:
    """A URL as far as it may be shown: paths and queries of webhooks are often secrets."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def webhook(config: WebhookConfig, gateway_id: str, too_old: Callable[[Event], str]) -> Web:
    envelopes = Envelopes(gateway_id)

    def request(event: Event) -> Request:
        if config.json_ is None:
            body, content_type = envelopes.bytes(event), envelopes.content_type
        else:
            values = values_of(event, envelopes.tree(event), gateway=gateway_id)
            body, content_type = msgspec.json.encode(fill_tree(config.json_, values)), "application/json"
        headers = {"Content-Type": content_type, "Idempotency-Key": event.id, **bearer(config), **config.headers}
        return Request(config.method, config.url, headers, body)

    return Web("webhook", request, too_old, config.timeout_s)


def notifying(
    config: NotifyConfig, where: NotifierConfig | None, gateway_id: str, too_old: Callable[[Event], str]
) -> Web:
    """A push message the way ntfy takes it: the text as body, the rest as headers."""
    to = NotifierConfig(url=config.url, token=config.token) if config.url is not None else where
    text = Template(config.text)
    title = Template(config.title or "{name}")

    def request(event: Event) -> Request:
        if to is None:  # `gateway check` refuses this
            raise LinkError("nobody is told where to send it: the configuration has no `notify:`")
        values = values_of(event, gateway=gateway_id)
        priority = config.priority or PRIORITY.get(str(event.data.get("severity")), 3)
        headers = {
            "Content-Type": "text/plain; charset=utf-8",
            "Idempotency-Key": event.id,
            "Title": header_text(title.fill(values)),
            "Priority": str(priority),
            **bearer(to),
        }
        return Request("POST", to.url, headers, text.fill(values).encode())

    return Web("notify", request, too_old, NOTIFY_TIMEOUT_S)


def bearer(config: WebhookConfig | NotifierConfig) -> dict[str, str]:
    return {"Authorization": f"Bearer {config.token.get_secret_value()}"} if config.token is not None else {}


def header_text(text: str) -> str:
    """Any text on one line of ASCII: as it is where it can be, else as RFC 2047 writes it."""
    line = " ".join(text.split())
    return line if line.isascii() else Header(line, "utf-8", maxlinelen=10_000).encode()
