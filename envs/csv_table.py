"""CSV and TSV files, to the letter: every cell is the text between its separators, and every row has as many as the header.

Invariants: nothing is guessed, skipped or filled up. A file that can be read in two ways is refused with the number of the
row (the first one after the header is row 1) and its line in the file.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ..configs.errors import BadInput
from .text_file import MARK, check_nul, undecodable

LONGEST_CELL = 2**31 - 1
"""Characters; Python's own limit of 131,072 is shorter than many a document."""
TAB = "\t"


def read_csv(where: str, file: Path, separator: str) -> tuple[list[str], list[dict[str, Any]]]:
    """The columns, and a mapping from column to text for each row. Blank lines are no rows.

    Args:
        where: the file as the user wrote it, for messages.
        separator: one character.

    Raises:
        BadInput: not UTF-8, NUL bytes, quotes that don't fit, a row that is longer or shorter than the header, or columns
            without a name of their own.
    """
    limit = csv.field_size_limit(LONGEST_CELL)
    try:
        with file.open(encoding=MARK, newline="") as stream:
            return _read(where, stream, separator)
    except UnicodeDecodeError:
        raise undecodable(where, file) from None
    finally:
        csv.field_size_limit(limit)


def _read(where: str, stream: IO[str], separator: str) -> tuple[list[str], list[dict[str, Any]]]:
    rows = _rows(where, stream, separator)
    number, line, header = next(rows, (0, 1, []))
    if not header:
        raise BadInput(f"{where}: the file is empty; give one that has rows")
    columns = _columns(where, header)
    # The first column may have no name: it is the index that pandas writes, and nobody can ask for it.
    named = [column for column in columns if column]
    first = len(columns) - len(named) if columns and not columns[0] else 0
    records = []
    for number, line, cells in rows:
        if len(cells) != len(columns):
            fields = f"{len(cells)} {'cell' if len(cells) == 1 else 'cells'}"
            raise BadInput(
                f"{where}: row {number} (line {line}) has {fields} and the header {len(columns)}"
                f"{_why(cells, columns, separator)}"
            )
        records.append(dict(zip(named, cells[first:] if first else cells, strict=True)))
    return named, records


def _rows(where: str, stream: IO[str], separator: str) -> Iterator[tuple[int, int, list[str]]]:
    """(number of the row, line it starts on, cells); the header is row 0."""
    reader = csv.reader(check_nul(where, stream), delimiter=separator, strict=True)
    number, line = 0, 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            at = f"row {number} (line {line})" if number else f"the header (line {line})"
            reason = (
                "opens a quote that is never closed" if "unexpected end" in str(error) else f"can't be read: {error}"
            )
            raise BadInput(
                f"{where}: {at} {reason}; a cell with quotes, separators or line breaks is written in "
                'quotes, with "" for each quote in it'
            ) from None
        if any(cell.strip() for cell in cells) or len(cells) > 1:
            yield number, line, cells
            number += 1
        line = reader.line_num + 1


def _columns(where: str, header: list[str]) -> list[str]:
    if twice := next((column for column in header if column and header.count(column) > 1), None):
        raise BadInput(f"{where}: the column '{twice}' is there twice; rename one of them")
    for number, column in enumerate(header[1:], 2):
        if not column.strip():
            raise BadInput(
                f"{where}: column {number} of the header has no name (does a separator end the line?); name it, or remove "
                "it from every row"
            )
    return [header[0] if header[0].strip() else "", *header[1:]]


def _why(cells: list[str], columns: list[str], separator: str) -> str:
    if len(cells) > len(columns):
        return f"; a cell that holds a {'tab' if separator == TAB else 'comma'} is written in quotes"
    return "; an empty cell needs its separator too"
