"""Exactly once: kills of a real process, at random moments, change nothing of what is derived."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_kills_at_random_moments_change_nothing_of_what_is_derived(tmp_path: Path) -> None:
    """A short run of `tests/rigs/test_once.py`, over a real log on a real disk."""
    command = [sys.executable, "-m", "tests.rigs.once", str(tmp_path), "1000", "8"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    told = json.loads(done.stdout)
    assert (told["missing"], told["unexpected"], told["doubled"]) == (0, 0, []), told["examples"]
    assert (told["mismatches"], told["kills"]) == (0, 8), done.stderr
    assert told["derived"] > 1000
