"""What clients send, read from bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.request import BadRequest, Request, parse

CURL = b"GET /metrics HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n"


def test_what_curl_sends_is_understood():
    assert parse(CURL) == Request("GET", "/metrics")


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (b"HEAD /healthz HTTP/1.0", "/healthz"),
        (b"GET /status?pretty=1 HTTP/1.0", "/status"),
        (b"GET http://pi.local:8080/status HTTP/1.0", "/status"),
        (b"GET /a%2F..%2Fb HTTP/1.0", "/a%2F..%2Fb"),
    ],
)
def test_a_path_is_what_stands_before_the_query(line, path):
    assert parse(line + b"\r\n\r\n").path == path


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"", 400),
        (b"GET", 400),
        (b"GET /", 400),
        (b"GET  / HTTP/1.1\r\nHost: a", 400),
        (b"GET / HTTP/1.1\nHost: a", 400),
        (b"GET / HTTP/1.1", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b", 400),
        (b"GET / HTTP/1.1\r\nHost : a", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n folded", 400),
        (b"GET / HTTP/1.1\r\nHost: a\x00", 400),
        (b"GET * HTTP/1.0", 400),
        (b"GET /\xff HTTP/1.0", 400),
        (b"GET / HTTP/2.0", 505),
        (b"PRI * HTTP/2.0", 505),
        (b"POST /metrics HTTP/1.0", 405),
        (b"OPTIONS * HTTP/1.0", 405),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ],
)
def test_everything_else_gets_a_status_and_a_reason(head, status):
    with pytest.raises(BadRequest) as found:
        parse(head + b"\r\n\r\n")
    assert found.value.status == status
    assert str(found.value)


def outcome(head):
    """The path, or the status that refuses it."""
    try:
        return parse(head).path
    except BadRequest as bad:
        return bad.status


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_that(head):
    found = outcome(head)
    assert found in {400, 405, 505} or found.startswith("/")


@given(st.integers(0, len(CURL)), st.binary(max_size=4))
def test_a_damaged_request_does_no_more_either(at, put):
    found = outcome(CURL[:at] + put + CURL[at + len(put) :])
    assert found in {400, 405, 505} or found.startswith("/")
