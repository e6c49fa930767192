"""What the gateway shows over HTTP where the YAML names `http:`; `gateway/http/README.md` explains each page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.config.model import HttpConfig
from gateway.health import ailments, status_document
from gateway.http import Answer, HttpServer, metrics

if TYPE_CHECKING:
    from gateway.app import Gateway

JSON = "application/json"
ANY_PORT = 0


def http_server(gateway: Gateway, config: HttpConfig, *, rehearsal: bool) -> HttpServer:
    """The server that the configuration asks for. A `rehearsal` leaves the port to the gateway that it imitates."""

    async def figures() -> Answer:
        return Answer(metrics.exposition(await gateway.answers.snapshot()), metrics.CONTENT_TYPE)

    async def health() -> Answer:
        reasons = ailments(await gateway.answers.snapshot(), gateway.clock.wall_ns())
        body = msgspec.json.encode({"ok": not reasons, "reasons": reasons})
        return Answer(body + b"\n", JSON, 503 if reasons else 200)

    async def status() -> Answer:
        document = status_document(await gateway.answers.snapshot())
        return Answer(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n", JSON)

    pages = {"/metrics": figures, "/healthz": health, "/status": status}
    host, port = ("127.0.0.1", ANY_PORT) if rehearsal else (config.host, config.port)
    return HttpServer(host, port, pages)
