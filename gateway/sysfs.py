"""What the kernel shows as files below `/sys`, for drivers that read them: one value per file, as text.

Source: Linux kernel, Documentation/filesystems/sysfs.rst, section "Attributes".
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import DeviceError

_SHOWN_MAX = 32
"""Characters of a strange value, and entries of a list, that an error quotes."""


def text(file: Path) -> str:
    """What the file holds, without the line's end.

    Raises:
        OSError: it is not there, or the hardware behind it did not answer.
    """
    return file.read_text(encoding="utf-8", errors="replace").strip()


def text_or_none(file: Path) -> str | None:
    """What the file holds; None where there is no such file, or nothing in it."""
    try:
        return text(file) or None
    except OSError:
        return None


def number(file: Path, expected: str) -> float:
    """The number in the file. `expected` says for the error what it should have been, such as `millivolts`.

    Raises:
        DeviceError: it holds something else.
        OSError: as for `text`.
    """
    found = text(file)
    try:
        value = float(found)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DeviceError(f"{file} holds {found[:_SHOWN_MAX]!r}: expected {expected}")
    return value


@dataclass(frozen=True, slots=True)
class Entry:
    """A numbered directory of a class or bus, such as `hwmon2`, and what the kernel tells of it.

    `name` is the chip's name, `label` a word from the device tree, `place` where it is wired: `1-0076` is address 0x76
    on I2C bus 1. A name such as `dht11@4` is known without its pin, too.
    """

    path: Path
    number: int
    name: str
    label: str | None
    place: str | None

    def is_called(self, wanted: str | int) -> bool:
        return wanted in {self.number, self.name, self.kind, self.label, self.place}

    @property
    def kind(self) -> str:
        return self.name.partition("@")[0]

    def __str__(self) -> str:
        more = ", ".join(filter(None, (self.name, self.label and f"label {self.label}", self.place)))
        return f"{self.path.name} ({more or 'no name'})"


def entries(directory: Path, prefix: str, name_file: str = "name") -> list[Entry]:
    """Everything that is called `<prefix><number>` there, by number. `name_file` is the file that holds its name."""
    digits = {path: path.name.removeprefix(prefix) for path in directory.glob(f"{prefix}*")}
    numbers = {path: int(number) for path, number in digits.items() if number.isdecimal()}
    return [_entry(path, numbers[path], name_file) for path in sorted(numbers, key=numbers.__getitem__)]


def choose(directory: Path, prefix: str, wanted: str | int, what: str) -> Entry:
    """The one entry that goes by this name, label, place or number.

    Raises:
        DeviceError: there is none, or more than one; names those that are there.
    """
    there = entries(directory, prefix)
    found = [entry for entry in there if entry.is_called(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        raise DeviceError(
            f"{what} {wanted!r} could be any of {listed(found)}: say which one by its label, its place or its number"
        )
    raise absent(f"{what} {wanted!r}", directory, f"found {listed(there)}")


def absent(what: str, directory: Path, why: str) -> DeviceError:
    """The error that says what is not in a directory, and what there is to do."""
    return DeviceError(f"no {what} in {directory}: {why}; `gateway run --simulate` needs no sensor")


def file_of(entry: Entry, names: Sequence[str], like: re.Pattern[str]) -> Path:
    """The first of these files that the entry has.

    Raises:
        DeviceError: it has none of them; names those it has that are like `like`.
    """
    for name in names:
        if (entry.path / name).exists():
            return entry.path / name
    there = sorted(file.name for file in entry.path.iterdir() if like.fullmatch(file.name))
    raise DeviceError(f"{entry} has no {' or '.join(names)}: found {listed(there)}")


def listed(things: Sequence[object]) -> str:
    """Some things in a sentence."""
    shown = ", ".join(map(str, things[:_SHOWN_MAX]))
    more = len(things) - _SHOWN_MAX
    return (shown or "none") if more <= 0 else f"{shown} and {more} more"


def _entry(path: Path, entry_number: int, name_file: str) -> Entry:
    return Entry(path, entry_number, text_or_none(path / name_file) or "", text_or_none(path / "label"), _place(path))


def _place(path: Path) -> str | None:
    """The device that the entry belongs to. In `/sys` an entry is a link to `<device>/hwmon/hwmon0`, for example."""
    if not path.is_symlink():
        return None
    above = path.resolve().parent
    return above.parent.name if above.name == path.parent.name else above.name
