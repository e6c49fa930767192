"""`http:` of the YAML."""

import pytest

from gateway.config.model import HttpConfig
from tests.config.parts import parse


def test_http_is_off_unless_it_is_named():
    assert parse("gateway: {id: a}").http is None
    assert parse("http:").http is None


@pytest.mark.parametrize(
    ("listen", "host", "port", "is_local"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080, True),
        ("localhost:80", "127.0.0.1", 80, True),
        ("[::1]:8080", "::1", 8080, True),
        ("0.0.0.0:8080", "0.0.0.0", 8080, False),
        ("[::]:65535", "::", 65535, False),
        ("192.168.1.5:1", "192.168.1.5", 1, False),
    ],
)
def test_an_address_is_read(listen, host, port, is_local):
    config = HttpConfig(listen=listen)
    assert (config.host, config.port, config.is_local) == (host, port, is_local)


def test_an_address_that_others_reach_is_cautioned_at_its_place():
    (warning,) = parse("http:\n  listen: 0.0.0.0:8080\n").warnings
    assert warning.startswith("gateway.yaml:2:3 http.listen: whoever reaches this address can read")
    assert not parse("http: {listen: 127.0.0.1:8080}").warnings


def test_http_is_part_of_what_the_hash_means():
    plain, on = (parse(text).hash for text in ("gateway: {id: a}", "gateway: {id: a}\nhttp: {listen: 127.0.0.1:1}"))
    other = parse("gateway: {id: a}\nhttp: {listen: 127.0.0.1:2}").hash
    assert len({plain, on, other}) == 3
