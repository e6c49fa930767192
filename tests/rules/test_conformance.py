"""What other projects' tests expect of patterns, windows and levels is so here, or is as the file says we differ."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateway.errors import PluginError
from tests.rules import conform
from tests.rules.corpus import Case, read_files

CASES = [case for file in read_files() for case in file.cases if "cannot" not in case.keys]


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_the_rule_says_what_the_file_says(case: Case):
    keys = case.keys
    if "refused" in keys:
        with pytest.raises(ValidationError, match=keys["refused"]):
            conform.rule(case)
        return
    if "rates" in keys:
        assert conform.rates_that_are_not(case) == []
        return
    try:
        run = conform.Run(case)
    except PluginError as error:
        pytest.skip(str(error))
    if "matches" in keys:
        assert sorted(conform.matches(run)) == sorted(keys["matches"])
    if "timeouts" in keys:
        assert sorted(conform.timeouts(run)) == sorted(keys["timeouts"])
    if "raised" in keys:
        assert conform.raised(run) == keys["raised"]
    if "windows" in keys:
        found, wanted = conform.windows(run), conform.expected_windows(case)
        assert len(found) == len(wanted)
        assert all(map(conform.Window.is_like, found, wanted)), (found, wanted)
    if "idle" in keys:
        assert run.engine.deadline is None
