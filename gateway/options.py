"""What every configured thing shares: strict, frozen options, and scalars that carry their unit in the YAML.

A duration is `10s`, `500ms`, `5m`, `1h30m` or `30d`; a size is `512MB` or `2MiB`. A bare number is refused: it is
the one mistake that no validator can catch later. In Python the values are floats of seconds and integers of bytes,
and their names say so: `every_s`, `bytes_max`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
)

from gateway.event import ID_PATTERN

DURATION_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SIZE_UNITS_BYTES = {
    "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30,
}  # fmt: skip

_FOLDER = "folder"
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(B|kB|MB|GB|KiB|MiB|GiB)")
_PER_DAY = "/day"


class Options(BaseModel):
    """Base of every options model: unknown keys and silent conversions are errors, values never change.

    Strict also refuses a text where a `Path`, `tuple` or `Enum` is declared; such fields take `Field(strict=False)`.
    """

    model_config = ConfigDict(
        defer_build=True,  # most models are never used in one run, and a built one holds some 100 KB
        extra="forbid",
        frozen=True,
        strict=True,
        validate_by_name=True,
        validate_by_alias=True,
        hide_input_in_errors=True,
    )


def parse_duration_s(text: object) -> float:
    """Seconds of a text such as `1h30m`.

    Raises:
        ValueError: not a duration, or one without a unit.
    """
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        raise ValueError(f"a duration needs a unit: write {text}s, {text}ms, {text}m, {text}h or {text}d")  # noqa: TRY004
    if not isinstance(text, str) or not _DURATION.fullmatch(text):
        raise ValueError("expected a duration such as 10s, 500ms, 5m, 1h30m or 30d")
    return sum(float(number) * DURATION_UNITS_S[unit] for number, unit in _DURATION_PART.findall(text))


def duration_text(seconds: float) -> str:
    """Seconds as the YAML writes them, in the largest unit that leaves a whole number: `10s`, `90m`, `250ms`."""
    ms = round(seconds * 1000, 6)
    for unit, unit_s in sorted(DURATION_UNITS_S.items(), key=lambda row: -row[1]):
        if ms and ms % (unit_s * 1000) == 0:
            return f"{ms / (unit_s * 1000):.0f}{unit}"
    return f"{ms:.10g}ms" if ms else "0s"


def parse_size_bytes(text: object) -> int:
    """Bytes of a text such as `512MB`.

    Raises:
        ValueError: not a size, or one without a unit.
    """
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        raise ValueError(f"a size needs a unit: write {text}MB, {text}kB, {text}GB or {text}B")  # noqa: TRY004
    found = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError("expected a size such as 512MB, 2MiB or 64kB")
    return round(float(found[1]) * SIZE_UNITS_BYTES[found[2]])


def parse_size_per_day_bytes(text: object) -> int:
    """Bytes a day of a text such as `200MB/day`.

    Raises:
        ValueError: not a size and `/day`.
    """
    if isinstance(text, str) and text.endswith(_PER_DAY) and _SIZE.fullmatch(text.removesuffix(_PER_DAY)):
        return parse_size_bytes(text.removesuffix(_PER_DAY))
    raise ValueError("expected a size per day such as 200MB/day")


def beside(file: str) -> dict[str, Path]:
    """The validation context in which a `LocalFile` begins beside that file."""
    return {_FOLDER: Path(file).parent.absolute()}


def _locate(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get(_FOLDER)
    path = path.expanduser()
    return folder / path if folder is not None else path


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'button'?)`, or nothing where no known word is near."""
    import difflib  # noqa: PLC0415 - who writes no mistakes does not pay for it

    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""


Duration = Annotated[
    float,
    BeforeValidator(parse_duration_s),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^(\d+(\.\d+)?(ms|s|m|h|d))+$",
            "description": "a duration with its unit: 10s, 500ms, 5m, 1h30m, 30d",
        }
    ),
]

Size = Annotated[
    int,
    BeforeValidator(parse_size_bytes),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^\d+(\.\d+)? ?(B|kB|MB|GB|KiB|MiB|GiB)$",
            "description": "a size with its unit: 512MB, 2MiB, 64kB",
        }
    ),
]

SizePerDay = Annotated[
    int,
    BeforeValidator(parse_size_per_day_bytes),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^\d+(\.\d+)? ?(B|kB|MB|GB|KiB|MiB|GiB)/day$",
            "description": "a size per day: 200MB/day",
        }
    ),
]

LocalFile = Annotated[
    Path,
    Field(strict=False, description="a file; a relative path begins beside the YAML file"),
    AfterValidator(_locate),
]
"""A service has no working directory that a person knows: what the YAML names lies beside the YAML."""


def _on_or_off(written: object) -> object:
    return {True: "on", False: "off"}[written] if isinstance(written, bool) else written


OnOff = Annotated[Literal["on", "off"], BeforeValidator(_on_or_off)]
"""A level. YAML 1.2 reads `on` as a text; who is used to `true` means the same."""

Identifier = Annotated[str, StringConstraints(pattern=rf"^{ID_PATTERN}$", max_length=64)]

Pin = Annotated[
    int,
    Field(
        ge=0, le=27, description="GPIO number as printed on pinout diagrams (BCM numbering), not the header position"
    ),
]
