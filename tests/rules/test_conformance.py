"""What other projects' tests expect of patterns, windows and levels is so here, or is as the file says we differ."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateway.errors import PluginError
from tests.rules import conform
from tests.rules.corpus import Case, read_files

CASES = [case for file in read_files() for case in file.cases if "cannot" not in case.keys]


RUN_CASES = [case for case in CASES if not {"refused", "rates"} & case.keys.keys()]


@pytest.mark.parametrize("case", RUN_CASES, ids=[case.id for case in RUN_CASES])
@pytest.mark.parametrize("restored", [False, True], ids=["straight", "restored"])
def test_the_rule_says_what_the_file_says(case: Case, restored: bool):
    keys = case.keys
    try:
        run = conform.Run(case, restored=restored)
    except PluginError as error:
        pytest.skip(str(error))
    if "matches" in keys:
        assert sorted(conform.matches(run)) == sorted(keys["matches"])
    if "timeouts" in keys:
        assert sorted(conform.timeouts(run)) == sorted(keys["timeouts"])
    if "raised" in keys:
        assert conform.raised(run) == keys["raised"]
    if "since" in keys:
        assert conform.since(run) == keys["since"]
    if "windows" in keys:
        found, wanted = conform.windows(run), conform.expected_windows(case)
        assert len(found) == len(wanted)
        assert all(map(conform.Window.is_like, found, wanted)), (found, wanted)
    if "idle" in keys:
        assert run.is_idle is keys["idle"]
    assert run.read_again() == []


@pytest.mark.parametrize("case", [case for case in CASES if "rates" in case.keys], ids=lambda case: case.id)
@pytest.mark.parametrize("restored", [False, True], ids=["straight", "restored"])
def test_the_value_changes_as_fast_as_the_file_says(case: Case, restored: bool):
    assert conform.rates_that_are_not(case, restored=restored) == []


@pytest.mark.parametrize("case", [case for case in CASES if "refused" in case.keys], ids=lambda case: case.id)
def test_the_rule_is_refused(case: Case):
    with pytest.raises(ValidationError, match=case.keys["refused"]):
        conform.rule(case)
