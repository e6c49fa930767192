"""For any real log a fresh engine that is fed it derives again exactly what is recorded: see `histories`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import virtual
from tests.app.histories import History, made


def play(folder: Path, monkeypatch: pytest.MonkeyPatch, seed: int, length: int) -> History:
    histories: list[History] = []

    async def main() -> None:
        histories.append(History(folder, ("evict", "thin", "refuse")[seed % 3]))
        await histories[0].play(made(seed, length))

    virtual.run(main, monkeypatch)
    return histories[0]


@pytest.mark.parametrize("seed", range(3))
def test_a_fresh_engine_that_reads_the_log_derives_what_is_recorded(tmp_path, monkeypatch, seed):
    play(tmp_path, monkeypatch, seed, 15)
