"""What every text file of a table must be: UTF-8, with or without its mark at the start, and without NUL bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ..configs.errors import BadInput

MARK = "utf-8-sig"
"""The codec: a byte order mark at the start is no part of the first cell."""


def undecodable(where: str, file: Path) -> BadInput:
    """The error for a file that is not UTF-8, naming the line of the first byte that isn't."""
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                utf16 = number == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff")
                what = "it is UTF-16" if utf16 else f"the byte 0x{line[error.start]:02x} in line {number} is none"
                return BadInput(f"{where}: not a text in UTF-8 ({what}); save it as UTF-8")
    return BadInput(f"{where}: not a text in UTF-8; save it as UTF-8")


def check_nul(where: str, lines: Iterable[str]) -> Iterator[str]:
    """`lines` as they are.

    Raises:
        BadInput: one holds a NUL byte, which no text has.
    """
    for number, line in enumerate(lines, 1):
        if "\0" in line:
            raise BadInput(f"{where}: line {number} holds a NUL byte, so it is no text in UTF-8; save it as UTF-8")
        yield line
