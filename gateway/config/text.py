"""From bytes on a disk to text that YAML may read: size, encoding, characters; and the complaints of PyYAML's scanner.

Everything here raises `Unreadable` with a place counted from 1, never a decoding error.
"""

from __future__ import annotations

import codecs
import errno
import os
import re
import stat
import sys
from pathlib import Path

import yaml

FILE_BYTES_MAX = 1 << 20

_UTF_16_32 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)  # UTF-32-LE begins like UTF-16-LE
_BREAK = re.compile(r"\r\n|\n|\r")
_WIDE_ESCAPE = re.compile(r"\\U([0-9a-fA-F]{8})")
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")

_SENTENCES = (
    (r"tab character|character '\\t'", "a tab stands where YAML indents: use spaces only"),
    (r"cannot start any token", "a value cannot begin with {char!r}: put the value in quotes"),
    (
        r"mapping values are not allowed",
        "a colon that belongs to no key: put a text that contains ': ' in quotes, and check the indentation",
    ),
    (r"could not find expected ':'", "a key without its colon: write `key: value`, with a space after the colon"),
    (r"unexpected end of stream", "the quotes that open on line {context} are never closed"),
    (
        r"unknown escape character",
        "a backslash in double quotes begins an escape that does not exist: use single quotes, or write \\\\",
    ),
    (r"escape|hexadecimal", "an escape in double quotes names no character: use single quotes, or write \\\\"),
    (r"expected ',' or '(.)'", "the bracket that opens on line {context} misses a comma or its closing {closing}"),
    (r"end of file", "the file ends in the middle of a value: a [ or {{ is never closed"),
    (r"node content", "a value is missing here, or a closing bracket has no opening one"),
    (r"document start", "text after the end of the value: put the whole value in one pair of quotes"),
    (
        r"expected key|'-' indicator|block end",
        "this does not line up with the lines above: keys of one mapping, and dashes of one list, begin in one column",
    ),
    (r"tag", "a tag that is not understood: the known ones are `!secret name` and `!include file`"),
    (r"anchor|alias|alphabetic", "an anchor (&) or alias (*) without a name: put a text that begins so in quotes"),
    (r"comment or line break|chomping|indentation indicators", "after | or > the text begins on the next line"),
    (r"incompatible YAML document", "this is another version of YAML: write YAML 1.2, without a %YAML line"),
)
"""What PyYAML's two parsers say (a pattern over both wordings), and what a person needs to hear."""


class Unreadable(Exception):
    """A file that is no YAML at all. `line` and `column` count from 1."""

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        self.message, self.line, self.column = message, line, column
        super().__init__(message)


def read_bytes(file: Path, bytes_max: int = FILE_BYTES_MAX) -> bytes:
    """The content of a regular file.

    Raises:
        Unreadable: missing, no permission, no regular file, or too large.
    """
    try:
        with open(file, "rb", opener=_without_waiting) as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise Unreadable("this is not a regular file")
            content = opened.read(bytes_max + 1)
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL in it
        raise Unreadable(_why(error)) from None
    if len(content) > bytes_max:
        raise Unreadable(f"the file is larger than {bytes_max} bytes, the most that is read")
    return content


def _without_waiting(file: str, flags: int) -> int:
    """Opening a FIFO would wait for its writer, perhaps for ever."""
    return os.open(file, flags | os.O_NONBLOCK)


def _why(error: OSError | ValueError) -> str:
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.ENOENT:
        return "no such file"
    if code == errno.EACCES:
        return "no permission to read it"
    if code == errno.EISDIR:
        return "this is a directory, expected a file"
    return f"cannot be read: {error.strerror}" if isinstance(error, OSError) else "no such file"


def decode(content: bytes) -> str:
    """Text of a UTF-8 file, without its byte order mark.

    Raises:
        Unreadable: another encoding, or characters that no YAML file may hold.
    """
    if content.startswith(_UTF_16_32):
        raise Unreadable("found UTF-16 or UTF-32 (byte order mark at byte 0), expected UTF-8: save the file as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = position(content[: error.start].decode("utf-8-sig", "replace"))
        raise Unreadable(
            f"found byte 0x{content[error.start]:02X} at byte {error.start}, expected UTF-8: save the file as UTF-8 "
            "(it looks like Latin-1, another encoding, or no text at all)",
            line,
            column,
        ) from None
    check_characters(text)
    return text


def check_characters(text: str) -> None:
    """Raises Unreadable at the first character that YAML 1.2 forbids, or that YAML 1.1 read as a line break."""
    forbidden = _FORBIDDEN.search(text)
    if not forbidden:
        return
    char, (line, column) = forbidden[0], position(text[: forbidden.start()])
    byte = len(text[: forbidden.start()].encode("utf-8", "surrogatepass"))
    if char == "\0":
        raise Unreadable(f"found a NUL at byte {byte}, expected UTF-8 text: this is UTF-16 or no text", line, column)
    escape = f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}"
    raise Unreadable(
        f'found the character U+{ord(char):04X} at byte {byte}: remove it, or write it as "{escape}" in double quotes',
        line,
        column,
    )


def position(before: str) -> tuple[int, int]:
    """Line and column, from 1, of what follows the text."""
    lines = _BREAK.split(before)
    return len(lines), len(lines[-1]) + 1


def lines_of(text: str) -> list[str]:
    """The lines as an editor counts them."""
    return _BREAK.split(text)


def no_character(text: str) -> Unreadable:
    """What the pure parser means when it fails to make a character: an escape beyond U+10FFFF."""
    escape = next((one for one in _WIDE_ESCAPE.finditer(text) if int(one[1], 16) > sys.maxunicode), None)
    line, column = position(text[: escape.start()]) if escape else (1, 1)
    return Unreadable(_sentence("escape", "", line), line, column)


def translate(error: yaml.MarkedYAMLError, text: str) -> Unreadable:
    """The scanner's complaint as a sentence for people, at its place."""
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    lines = lines_of(text)
    if line >= len(lines):  # libyaml ends an unfinished last line
        line, column = len(lines) - 1, len(lines[-1])
    rest = lines[line][column:]
    said = f"{error.problem} {error.context}"
    if rest.startswith("\t") and "token" in said:
        said = "tab character"
    elif not rest and line == len(lines) - 1 and "node content" in said:
        said = "end of file"
    if "escape" in said:  # the parsers point at, or a little behind, the backslash
        column = max(lines[line].rfind("\\", 0, column + 1), 0)
    opened = error.context_mark.line + 1 if error.context_mark else line + 1
    return Unreadable(_sentence(said, rest[:1], opened), line + 1, column + 1)


def _sentence(said: str, char: str, opened: int) -> str:
    for pattern, sentence in _SENTENCES:
        if match := re.search(pattern, said):
            closing = match[1] if match.re.groups else ""
            return sentence.format(char=char, context=opened, closing=closing)
    return f"this is no YAML: {said}"
