"""What a client asked, read from the head of its request (RFC 9112). Pure.

Only what a scraper, a browser and curl send is taken: GET and HEAD without a body on HTTP/1.x. Everything else gets a
status that says why.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

_REQUEST_LINE = re.compile(rb"(?P<method>[!#$%&'*+.^_`|~0-9A-Za-z-]+) (?P<target>[!-~]+) HTTP/1\.(?P<minor>[0-9])")
_ORIGIN = re.compile(rb"(?:[Hh][Tt][Tt][Pp]://[^/?#]*)?(?P<path>/[^?#]*)(?:\?[^#]*)?")
_FIELD = re.compile(rb"(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t -~\x80-\xff]*")


@dataclass(frozen=True, slots=True)
class Request:
    """`path` is without its query: no page takes one."""

    method: str
    path: str


class BadRequest(Exception):
    """The request cannot be served: `status` and why."""

    def __init__(self, status: int, why: str) -> None:
        self.status = status
        super().__init__(why)


def parse(head: bytes) -> Request:
    """The request of a head that ends in an empty line.

    Raises:
        BadRequest: 400, 405 or 505.
    """
    first, *fields = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    line = _REQUEST_LINE.fullmatch(first)
    if line is None:
        if re.fullmatch(rb"\S+ \S+ HTTP/(?!1\.)[0-9.]+", first):
            raise BadRequest(505, "this is an HTTP/1.1 server")
        raise BadRequest(400, "the request line is not `GET /path HTTP/1.1`")
    named = Counter(_name(field) for field in fields)
    if named[b"host"] > 1 or (line["minor"] != b"0" and not named[b"host"]):  # RFC 9112, section 3.2
        raise BadRequest(400, "one Host field is needed")
    target = _ORIGIN.fullmatch(line["target"])
    if line["method"] not in {b"GET", b"HEAD"}:
        raise BadRequest(405, "GET and HEAD are what there is")
    if target is None:
        raise BadRequest(400, "the target is no path")
    return Request(line["method"].decode(), target["path"].decode())


def _name(field: bytes) -> bytes:
    found = _FIELD.fullmatch(field)
    if found is None:
        raise BadRequest(400, "a header field is malformed")
    return found["name"].lower()
