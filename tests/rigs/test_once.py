"""Exactly once: what rules derive is the same with 200 kills as without, each event a single time."""

import json
import subprocess
import sys

import pytest

from tests.rigs.once import DOING
from tests.rules.every_operator import RULES

INPUTS, KILLS = 60_000, 200


@pytest.mark.rig
def test_200_kills_change_nothing_of_what_is_derived(tmp_path, capsys):
    command = [sys.executable, "-m", "tests.rigs.once", str(tmp_path), str(INPUTS), str(KILLS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    hit = ", ".join(f"{told['hit'].get(doing, 0)} while {doing}" for doing in DOING)
    with capsys.disabled():
        print(
            f"\n  {told['inputs']} inputs, {told['derived']} derived by {told['rules']} rules;"
            f"\n  {told['kills']} kills: {hit}"
            f"\n  {told['starts']} starts, {told['left']} derived events that kills had left unsaid,"
            f" mismatches {told['mismatches']}, missing {told['missing']}, unexpected {told['unexpected']},"
            f" doubled {len(told['doubled'])}"
        )
    assert (told["missing"], told["unexpected"], told["doubled"]) == (0, 0, []), told["examples"]
    assert told["mismatches"] == 0, done.stderr
    assert told["kills"] == KILLS
    assert told["rules"] == len(RULES), "every rule has its say"
    assert told["left"] > KILLS // 10, "kills come between an event and what follows from it"
    assert all(told["hit"].get(doing, 0) for doing in DOING), "kills come wherever they can"
