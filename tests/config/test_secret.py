"""A secret goes to the one who needs it, and nowhere else."""

from __future__ import annotations

import dataclasses
import errno
from typing import Annotated

import pytest
from pydantic import AfterValidator, BaseModel, SecretStr

from gateway.config.host import Host
from gateway.errors import ConfigError
from tests.config.parts import Post, PostOptions, parse, wrong

CANARY = "cAnArY-7f3a9"
SINK = "sinks: [{id: a, sink: post, url: posts://x, username: u, password: !secret mqtt}]"


def _host(**environ):
    return Host(environ, "pi", "ab")


@pytest.fixture
def file(tmp_path):
    """The YAML file's name, with a secret `mqtt` beside it that only the owner reads."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/mqtt").write_text(f"{CANARY}\n")
    (tmp_path / "secrets/mqtt").chmod(0o600)
    return tmp_path / "gateway.yaml"


def _everything(value, seen=""):
    """All that one can print of a configuration."""
    if isinstance(value, BaseModel):
        seen += f"{value!r}{value}{value.model_dump()}{value.model_dump_json()}"
    if dataclasses.is_dataclass(value):
        seen += "".join(_everything(getattr(value, field.name)) for field in dataclasses.fields(value))
    if isinstance(value, tuple):
        seen += "".join(map(_everything, value))
    return f"{seen}{value!r}{value}"


def test_a_secret_lies_beside_the_yaml_file(file):
    config = parse(SINK, file, host=_host())
    assert config.sinks[0].options.password == SecretStr(CANARY)
    assert config.warnings == ()


def test_systemds_credentials_come_first(file, tmp_path):
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials/mqtt").write_text("from systemd")
    (tmp_path / "credentials/mqtt").chmod(0o444)
    config = parse(SINK, file, host=_host(CREDENTIALS_DIRECTORY=str(tmp_path / "credentials")))
    assert config.sinks[0].options.password == SecretStr("from systemd")
    assert config.warnings == ()


def test_a_missing_credential_is_looked_for_beside_the_file(file, tmp_path):
    config = parse(SINK, file, host=_host(CREDENTIALS_DIRECTORY=str(tmp_path)))
    assert config.sinks[0].options.password == SecretStr(CANARY)


@pytest.mark.parametrize(
    ("stored", "value"), [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a "), ("ä", "ä")]
)
def test_one_newline_at_the_end_is_not_part_of_a_secret(file, stored, value):
    (file.parent / "secrets/mqtt").write_bytes(stored.encode())
    assert parse(SINK, file, host=_host()).sinks[0].options.password == SecretStr(value)


def test_a_secret_that_others_can_read_is_a_warning(file):
    (file.parent / "secrets/mqtt").chmod(0o644)
    (warning,) = parse(SINK, file, host=_host()).warnings
    assert f"sinks[0].password: others can read {file.parent}/secrets/mqtt: run `chmod 600" in warning


def test_a_secret_in_the_file_itself_is_a_warning(file):
    (warning,) = parse(SINK.replace("!secret mqtt", CANARY), file, host=_host()).warnings
    assert "the secret stands in this file: move it out and write `!secret name`" in warning
    assert CANARY not in warning


@pytest.mark.parametrize(
    ("stored", "message"), [(b"", "is empty"), (b"\n", "is empty"), (b"\xff\xfe1", "no text"), (b"a\0b", "no text")]
)
def test_a_secret_that_is_none_is_a_problem(file, stored, message):
    (file.parent / "secrets/mqtt").write_bytes(stored)
    (problem,) = wrong(SINK, file, host=_host())
    assert message in problem.message
    assert problem.path == "sinks[0].password"


def test_a_secret_without_permission_is_a_problem(file, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("gateway.config.text._without_waiting", refuse)  # root, who runs tests, may read everything
    (problem,) = wrong(SINK, file, host=_host())
    assert "no permission to read it" in problem.message


def test_no_secret_is_shown_by_a_configuration(file):
    for simulate in (False, True):
        config = parse(SINK, file, host=_host(), simulate=simulate)
        assert CANARY not in _everything(config)
        assert config.sinks[0].options.password.get_secret_value() == CANARY


def test_a_secret_does_not_change_the_hash(file):
    first = parse(SINK, file, host=_host()).hash
    (file.parent / "secrets/mqtt").write_text("another")
    assert parse(SINK, file, host=_host()).hash == first


@pytest.mark.parametrize(
    "text",
    [
        "sinks: [{id: a, sink: post, url: !secret mqtt}]",
        "sinks: [{id: a, sink: post, url: posts://x, username: !secret mqtt}]",
        "sinks: [{id: a, sink: post, url: posts://x, password: !secret mqtt}]",
        "sinks: [{id: a, sink: post, url: posts://x, window: !secret mqtt}]",
        "sinks: [{id: a, sink: !secret mqtt}]",
        "gateway: {id: !secret mqtt, labels: {a: !secret mqtt}}",
        "gateway: !secret mqtt",
        "devices: [!secret mqtt]",
        "devices: [{id: a, driver: chip, every: !secret mqtt, note: !secret mqtt, filter: !secret mqtt}]",
        "devices: [{id: a, driver: chip, taps: [!secret mqtt], simulate: {humidity: !secret mqtt}}]",
        "buffer: {path: !secret mqtt, keep: {size: !secret mqtt}}",
        "!secret mqtt",
        "!secret mqtt : x",
    ],
)
def test_no_secret_is_shown_by_an_error(file, text):
    problems = wrong(text, file, host=_host())
    error = ConfigError(problems)
    assert CANARY not in f"{error}{error!r}{problems}"
    assert all("secret" in p.message or "password" in p.message or "expected" in p.message for p in problems)


def test_a_driver_that_repeats_a_secret_is_silenced(file, monkeypatch):
    def gossip(value):
        raise ValueError(f"what is {value.get_secret_value()}?")

    class Gossip(PostOptions):
        password: Annotated[SecretStr, AfterValidator(gossip)]

    monkeypatch.setattr(Post, "Options", Gossip)
    (problem,) = wrong(SINK, file, host=_host())
    assert CANARY not in problem.message
    assert "what is ...?" in problem.message
