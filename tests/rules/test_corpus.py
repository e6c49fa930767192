"""The files of `conformance/` are whole: every test of their source is there once, and what is said to differ does."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.rules.corpus import FOLDER, Case, File, read_files

FILES = read_files()
SOURCE = {"repository", "path", "commit", "licence"}
KEYS = {
    "test", "note", "differs", "cannot", "pattern", "events", "by", "when", "having", "or", "until", "tolerance",
    "theirs",
}  # fmt: skip
OUTCOMES = {"matches", "timeouts", "windows", "raised", "since", "rates", "idle", "refused"}


@pytest.fixture(params=FILES, ids=[file.name for file in FILES])
def file(request) -> File:
    return request.param


def test_every_file_names_its_source_and_its_licence(file: File):
    assert SOURCE <= file.source.keys() <= SOURCE | {"inputs"}
    assert file.source["licence"] == "Apache-2.0"
    assert len(file.source["commit"]) == 40


def test_every_test_of_the_source_is_there_once(file: File):
    named = Counter(written["test"] for written in file.written)
    assert named.total() == file.tests
    assert set(named.values()) == {1}


def test_rows_of_one_test_can_be_told_apart(file: File):
    assert set(Counter(case.id for case in file.cases).values()) == {1}
    for written in file.written:
        rows = [(row.get("row"), row.get("events")) for row in written.get("rows", [])]
        assert len(rows) == len(set(rows)), written["test"]


def test_every_case_has_a_rule_and_an_outcome_or_says_why_not(file: File):
    for case in file.cases:
        keys = case.keys.keys()
        assert keys <= KEYS | OUTCOMES, case.id
        if "cannot" in keys:
            assert not keys & (OUTCOMES | {"when", "differs"}), case.id
        else:
            assert "when" in keys, case.id
            assert keys & OUTCOMES, case.id
            assert "events" in keys or "refused" in keys, case.id
        assert case.keys.get("cannot", "why"), case.id
        assert case.keys.get("differs", "why"), case.id


def test_what_differs_has_theirs_beside_ours_and_they_differ(file: File):
    for case in file.cases:
        if "differs" in case.keys:
            assert sorted(_told(case)) != sorted(case.keys["theirs"]), case.id
        elif "theirs" in case.keys:
            assert "cannot" in case.keys, case.id


def test_matches_and_windows_name_events_of_their_case(file: File):
    for case in file.cases:
        matches = [text.split() for text in case.keys.get("matches", [])]
        windows = [text.split()[1:] for text in case.keys.get("windows", []) if "n=" not in text]
        for named in (*matches, *windows):
            assert {one.name for one in case.inputs}.issuperset(named), case.id


def test_the_page_counts_what_there_is():
    page = (FOLDER / "README.md").read_text("utf-8")
    rows = []
    for file in FILES:
        kinds = Counter(_kind(case) for case in file.cases)
        counted = f"{file.tests} | {kinds['same']} | {kinds['differs']} | {kinds['cannot']}"
        rows.append(f"| [`{file.name}`]({file.name}.yaml) | {counted} |\n")
    assert "".join(rows) in page


def _kind(case: Case) -> str:
    return next((kind for kind in ("cannot", "differs") if kind in case.keys), "same")


def _told(case: Case) -> list[str]:
    """Every outcome of the case that is a list: what `theirs` stands beside."""
    outcomes = (case.keys.get(outcome) for outcome in sorted(OUTCOMES))
    return [text for outcome in outcomes if isinstance(outcome, list) for text in outcome]
