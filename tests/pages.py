"""What the reference pages say, for the tests that compare it with the code."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType


def page_of(package: ModuleType) -> str:
    """The README.md of a package."""
    assert package.__file__ is not None
    return (Path(package.__file__).parent / "README.md").read_text("utf-8")


def tables_of(page: str) -> list[dict[str, tuple[str, str]]]:
    """The page's tables of keys: (default, meaning) of each key."""
    return [
        {row[0]: row[1:] for row in re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", table, re.MULTILINE)}
        for table in re.findall(r"\| key \| default \| meaning \|\n\|---\|---\|---\|\n((?:\|.*\n)+)", page)
    ]
