"""The directory tree that stands for the root of a machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.driver import Channel, PolledDriver, World
from gateway.event import Reading
from gateway.simulate.tree import FileTree, OverTree


def test_files_appear_change_vanish_and_are_removed_with_the_tree() -> None:
    tree = FileTree()
    tree.write("sys/a", "1")
    assert (tree.root / "sys/a").read_text(encoding="utf-8") == "1\n"
    tree.write("sys/a", "2")
    assert (tree.root / "sys/a").read_text(encoding="utf-8") == "2\n"
    tree.write("sys/a", None)
    tree.write("sys/a", None)
    assert not (tree.root / "sys/a").exists()
    tree.remove()
    tree.remove()
    assert not tree.root.exists()


class Counter(PolledDriver):
    """A driver that reads a file."""

    name = "counter"
    summary = "counts"
    fails = False

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def channels(cls, options: Any) -> tuple[Channel, ...]:
        return (Channel("count", "load", "how often the files were written"),)

    @classmethod
    def create(cls, options: Any) -> Counter:
        return cls(Path("/"))

    @classmethod
    def simulate(cls, options: Any, world: World) -> Counter:
        return SimulatedCounter(Path("not open"))

    def open(self) -> None:
        if self.fails:
            raise OSError("no counter")

    def read(self) -> Sequence[Reading]:
        return (Reading("count", int((self.root / "count").read_text(encoding="utf-8"))),)


class SimulatedCounter(OverTree, Counter):
    count = 0

    def follow(self, tree: FileTree) -> None:
        self.count += 1
        tree.write("count", str(self.count))


def test_the_files_are_written_before_each_look_and_gone_after_close() -> None:
    counter = SimulatedCounter(Path("not open"))
    counter.open()
    assert [reading.value for _ in range(2) for reading in counter.read()] == [2, 3]
    counter.close()
    counter.close()
    assert not counter.root.exists()


def test_an_open_that_fails_leaves_no_tree() -> None:
    counter = SimulatedCounter(Path("not open"))
    counter.fails = True
    with pytest.raises(OSError, match="no counter"):
        counter.open()
    assert not counter.root.exists()
