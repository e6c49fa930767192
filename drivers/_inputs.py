"""What the drivers of the kernel's chips share: how the YAML names a chip, its bus and its inputs.

It is no driver and knows none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, StringConstraints

Wanted = Annotated[str, StringConstraints(min_length=1, max_length=64)] | Annotated[int, Field(ge=0, le=999)]
"""A chip by its name, its label, its place or its number."""

Bus = Annotated[
    Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$", max_length=32)] | None,
    Field(description="the bus that it shares with other devices, such as i2c-1: they are read one after the other"),
]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The inputs that chips of one kind can have, in the kernel's words.

    `what` is the option that names the chip, `usual` says for well-known chips what is read of them and how that is
    called, `files` is where one sees what a chip has, `example` an input as in YAML, `expected` what `word` matches.
    """

    what: str
    usual: Mapping[str, Mapping[str, str]]
    files: str
    example: str
    word: re.Pattern[str]
    expected: str

    def named(self, kind: str, inputs: Mapping[str, str] | None) -> Mapping[str, str]:
        """Kernel's word -> channel."""
        return inputs if inputs is not None else self.usual[kind]

    def check(self, chip: str | int, kind: str, inputs: Mapping[str, str] | None) -> None:
        """Whether it is known what to read of a chip of that kind.

        Raises:
            ValueError: it is not, or an input cannot be, or two have one name.
        """
        if inputs is None and kind not in self.usual:
            raise ValueError(
                f"what has {self.what} {chip!r}? Say it: `inputs: {{{self.example}}}`; {self.files} shows what is "
                f"there. Without `inputs` known are {', '.join(self.usual)}"
            )
        for word in inputs or ():
            if not self.word.fullmatch(word):
                raise ValueError(f"input {word!r}: expected {self.expected}")
        names = list((inputs or {}).values())
        if len(set(names)) < len(names):
            raise ValueError(f"two inputs have one name: {', '.join(names)}")
