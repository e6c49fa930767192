"""Worlds for commands to run in."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway.control.protocol import Call, Stream
from tests.cli.canned import Serve, serving


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's world with no gateway in it, in UTC; short, because socket paths must be."""
    with tempfile.TemporaryDirectory(prefix="gw") as made:
        home = Path(made)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "run"))
        monkeypatch.setenv("TMPDIR", str(home))
        monkeypatch.setenv("TZ", "UTC")
        for name in ("GATEWAY_CONFIG", "RUNTIME_DIRECTORY", "COLUMNS"):
            monkeypatch.delenv(name, raising=False)
        time.tzset()
        yield home
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def serve(home: Path) -> Iterator[Serve]:
    """`serve(id, calls, streams)` starts a service where a person's own gateway of that id would be."""
    with ExitStack() as running:

        def start(
            gateway_id: str, calls: dict[str, Call] | None = None, streams: dict[str, Stream] | None = None
        ) -> Path:
            path = home / "run" / "gateway" / gateway_id / "control.sock"
            path.parent.mkdir(parents=True)
            running.enter_context(serving(path, calls or {}, streams or {}))
            return path

        yield start


@pytest.fixture
def environ(home: Path) -> dict[str, str]:
    """The environment of `home`, for programs that are started."""
    return dict(os.environ)
