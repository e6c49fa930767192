"""The formats of an export: JSON lines, CSV, Parquet. Each takes CloudEvents page by page and writes to an open file.

JSON lines hold everything, and `gateway import` reads them back. CSV and Parquet have a column for what is compared and
counted; what only some types have stands as JSON in the column `data`.
"""

from __future__ import annotations

import csv
import io
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, BinaryIO, ClassVar, Final

import msgspec

from gateway.errors import PluginError
from gateway.event import TYPE_PREFIX, TYPE_SUFFIX

CloudEvent = Mapping[str, Any]

COLUMNS: Final = (
    "sequence",
    "time",
    "recordedtime",
    "type",
    "subject",
    "value",
    "unit",
    "quality",
    "reason",
    "clocksync",
    "simulated",
    "id",
    "data",
)
_OWN: Final = frozenset({"value", "unit", "quality", "reason"})
ROW_GROUP_MIN: Final = 50_000
"""Parquet packs and filters by groups of rows: small ones cost both."""

_encode = msgspec.json.encode


class Writer(ABC):
    """Writes events to `file` until `close`, which leaves the file open."""

    suffixes: ClassVar[tuple[str, ...]]

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    @abstractmethod
    def write(self, events: Sequence[CloudEvent]) -> None:
        """A page of events."""

    def close(self) -> None:  # noqa: B027 - for formats that end with something
        """Nothing follows."""


class JsonLines(Writer):
    """One CloudEvent a line, as the log has it."""

    suffixes = (".jsonl", ".ndjson", ".json")

    def write(self, events: Sequence[CloudEvent]) -> None:
        self._file.write(b"".join(_encode(event) + b"\n" for event in events))


class Csv(Writer):
    """RFC 4180, with a header. Text values stand as they are, others as in JSON; null is an empty cell."""

    suffixes = (".csv",)

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._page([COLUMNS])

    def write(self, events: Sequence[CloudEvent]) -> None:
        self._page([[_cell(row[name]) for name in COLUMNS] for row in map(_row, events)])

    def _page(self, rows: Sequence[Sequence[str]]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text).writerows(rows)
        self._file.write(text.getvalue().encode())


class Parquet(Writer):
    """Typed columns. `value` is three columns, by its type: `value` (numbers), `value_text` and `value_flag`."""

    suffixes = (".parquet",)

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        try:
            import pyarrow as arrow  # noqa: ICN001, PLC0415 - heavy, and an extra
            import pyarrow.parquet as parquet  # noqa: PLC0415, PLR0402
        except ImportError:
            raise PluginError(
                "Parquet needs pyarrow, which is not installed: pip install 'sensor-event-gateway[parquet]', "
                "or choose --format csv or jsonl"
            ) from None
        instant, text = arrow.timestamp("us", tz="UTC"), arrow.string()
        names = arrow.dictionary(arrow.int32(), text)
        types = {"sequence": arrow.int64(), "time": instant, "recordedtime": instant, "value": arrow.float64()}
        types |= dict.fromkeys(("type", "subject", "unit", "quality", "reason"), names)
        types |= {"clocksync": arrow.bool_(), "simulated": arrow.bool_(), "id": text, "data": text}
        types |= {"value_text": text, "value_flag": arrow.bool_()}
        self._arrow, self._schema = arrow, arrow.schema(list(types.items()))
        self._writer = parquet.ParquetWriter(file, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []

    def write(self, events: Sequence[CloudEvent]) -> None:
        self._rows += map(_typed, map(_row, events))
        if len(self._rows) >= ROW_GROUP_MIN:
            self._group()

    def close(self) -> None:
        if self._rows:
            self._group()
        self._writer.close()

    def _group(self) -> None:
        columns = {name: [row[name] for row in self._rows] for name in self._schema.names}
        self._writer.write_table(self._arrow.table(columns, schema=self._schema))
        self._rows = []


FORMATS: Final[Mapping[str, type[Writer]]] = {"jsonl": JsonLines, "csv": Csv, "parquet": Parquet}


def format_of(name: str) -> str | None:
    """The format that a file's name speaks of; None where it speaks of none."""
    return next((kind for kind, writer in FORMATS.items() if name.lower().endswith(writer.suffixes)), None)


def _row(event: CloudEvent) -> dict[str, Any]:
    data = event["data"]
    rest = {name: value for name, value in data.items() if name not in _OWN}
    return {
        "sequence": int(event["sequence"]),
        "time": event["time"],
        "recordedtime": event["recordedtime"],
        "type": str(event["type"]).removeprefix(TYPE_PREFIX).removesuffix(TYPE_SUFFIX),
        "subject": event["subject"],
        "value": data.get("value"),
        "unit": data.get("unit"),
        "quality": data.get("quality"),
        "reason": data.get("reason"),
        "clocksync": event.get("clocksync", True),
        "simulated": event.get("simulated", False),
        "id": event["id"],
        "data": _encode(rest).decode() if rest else None,
    }


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else _encode(value).decode()


def _typed(row: dict[str, Any]) -> dict[str, Any]:
    value = row["value"]
    flag = value if isinstance(value, bool) else None
    number = float(value) if isinstance(value, (int, float)) and flag is None else None
    times = {name: datetime.fromisoformat(row[name]) for name in ("time", "recordedtime")}
    return {
        **row,
        **times,
        "value": number,
        "value_text": value if isinstance(value, str) else None,
        "value_flag": flag,
    }
