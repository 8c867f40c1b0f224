"""From the cells of a table to the rows of a job: prompts, answers, splits, and what has to be said about the table.

Invariants: every column is in its row under its own name, but for the names that a rollout fills in itself; identical
prompts are one task and lie in one split; every answer has been checked to earn full marks under the extraction the
rows are judged by; the hash changes where any cell does.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..configs.errors import BadInput, nearest
from ..rewards.call import BATCHED, GROUPED, PROVIDED
from ..rewards.text import WRITTEN, extractor
from .cells import Template, document, empty, exactly
from .core import Row, check_disjoint, deal, digest, prompt_text
from .repeats import FILLED_IN, Repeats, hidden_notices
from .source import Loaded, Source, read

OWN = ("prompt", "answer", "extraction", "item", "index")
"""What a row is given whatever the table holds."""
FILLED = frozenset({*OWN, *PROVIDED, *GROUPED, *BATCHED, "image", "images"})
"""Names of arguments that a column can't reach: the row or the rollout has something else under them."""
SIGNS = {";": "semicolons", "\t": "tabs", "|": "bars"}
"""What else separates columns, seen where a table has one column alone."""


class Layout(NamedTuple):
    """What becomes of a table's columns; the arguments of `Table` by the same names."""

    prompt: str
    answer: str | None
    columns: tuple[tuple[str, str], ...]
    extraction: str
    answer_extraction: str | None
    labels: tuple[str, ...] | None
    guessed_labels: bool = False
    """Whether YAML read a label as something else than a text."""


class Prepared(NamedTuple):
    """The rows of a job, the split of each by its key, a hash over both and every cell, and what was said about them."""

    rows: tuple[Row, ...]
    splits: dict[str, str]
    version: str
    notices: tuple[str, ...]


class Made(NamedTuple):
    """The rows of one table, a hash over its cells, and the columns that rewards can't reach."""

    rows: list[Row]
    hash: str
    hidden: dict[str, str]


@functools.lru_cache(maxsize=16)
def prepare(sources: tuple[tuple[str, Source], ...], layout: Layout, shares: tuple[tuple[str, float], ...]) -> Prepared:
    """Read the tables, check their rows and deal them to splits; `sources` has the one split "" where none is given.

    What should be known about a table that can be used goes to stderr, a line each, once a process.
    """
    tables = {split: make_rows(source, layout) for split, source in sources}
    if len(tables) > 1:
        check_apart(tables, ", ".join(dict.fromkeys(source.where for _, source in sources)))
    carved = {split: share for split, share in shares if split == "train" or split not in tables}
    total = sum(carved.values())
    answering = None if layout.answer is None else ("answer", *(name for name, _ in layout.columns))
    kept: dict[str, Row] = {}
    splits: dict[str, str] = {}
    notices: list[str] = []
    for (split, made), (_, source) in zip(tables.items(), sources, strict=True):
        name = source.where if source.split is None else f"{source.where}, split {source.split}"
        repeats = Repeats(answering, prompt_template(layout.prompt).columns)
        for number, row in enumerate(made.rows, 1):
            key = key_of(row)
            if repeats.first(key, number, row):
                kept[key] = row
                whole = split not in ("", "train") or total == 0
                splits[key] = split if whole else deal(key, {name: share / total for name, share in carved.items()})
        notices += [f"{name}: {notice}" for notice in (*repeats.notices(), *hidden_notices(made.hidden))]
    if "JOURNEYMAN_STATUS" not in os.environ:  # the process that started this one has said it
        for notice in dict.fromkeys(notices):
            print(f"journeyman: {notice}", file=sys.stderr, flush=True)
    made_of = [(row["prompt"], row["extraction"], row.get("answer"), row.get("solution")) for row in kept.values()]
    state = exactly([[made.hash for made in tables.values()], layout.columns, made_of, splits])
    return Prepared(tuple(kept.values()), splits, digest(state), tuple(notices))


def check_apart(tables: Mapping[str, Made], where: str) -> None:
    """Raise BadInput where two splits that the user made hold the same prompt."""
    try:
        check_disjoint(
            {
                split: [{"item": digest(key_of(row)), "index": number} for number, row in enumerate(made.rows, 1)]
                for split, made in tables.items()
            }
        )
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from None


def make_rows(source: Source, layout: Layout) -> Made:
    """The rows of one table.

    Raises:
        BadInput: a column that isn't there, an empty cell, an answer that isn't a label or would earn nothing.
    """
    template = prompt_template(layout.prompt)
    needed = [(column, "prompt") for column in template.columns]
    needed += [(layout.answer, "answer")] if layout.answer is not None else []
    for name, column in layout.columns:
        if name in FILLED:
            raise BadInput(
                f"'columns' can't set '{name}', a name that every row or rollout fills in itself; give it another name"
            )
        needed.append((column, f"columns: {name}"))
    table = read(source)
    for column, place in needed:
        check_column(column, place, source.where, table)
    asked = dict.fromkeys(column for column, _ in needed)
    filled = FILLED if layout.answer is not None else FILLED - {"answer"}
    hidden = {name: FILLED_IN for name in table.columns if name in filled and name not in asked}
    rows: list[Row] = []
    hashed = hashlib.sha256()
    for number, cells in enumerate(table.records):
        hashed.update(exactly(cells).encode() + b"\n")
        for column in asked:
            if empty(cells[column]):
                raise BadInput(
                    f"{table.at(number)}: the cell in column '{column}' is empty; fill it in or remove the row"
                )
        row: Row = {name: cell for name, cell in cells.items() if name not in filled}
        row |= {name: cells[column] for name, column in layout.columns}
        try:
            row["prompt"] = template.fill(cells)
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            raise BadInput(
                f"{table.at(number)}: the prompt '{layout.prompt}' can't be filled in: {_said(error)}"
            ) from None
        row["extraction"] = layout.extraction
        if layout.answer is not None:
            try:
                row |= answer_columns(cells[layout.answer], layout, row)
            except ValueError as error:
                raise BadInput(f"{table.at(number)}, column '{layout.answer}': {error}") from None
        rows.append(row)
    return Made(rows, hashed.hexdigest(), {**hidden, **table.left_out})


def check_column(column: str, place: str, where: str, table: Loaded) -> None:
    """Raise BadInput unless the table has the column, as something that can be read."""
    if column in table.left_out:
        raise BadInput(
            f"{where}: the column '{column}' ({place}) holds {table.left_out[column]}; name one that holds texts or numbers"
        )
    if column not in table.columns:
        signs = [name for sign, name in SIGNS.items() if len(table.columns) == 1 and sign in table.columns[0]]
        hint = (
            f"; do {signs[0]} separate its columns? Write it with commas" if signs else nearest(column, table.columns)
        )
        raise BadInput(f"{where}: there is no column '{column}' ({place}){hint} (columns: {', '.join(table.columns)})")


def _said(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"there is no {error}"
    return str(error)


def answer_columns(cell: Any, layout: Layout, row: Row) -> Row:
    """`answer`, and `solution` where the cell holds more than that and the table names no other.

    A list of texts or numbers is several answers and stays a list; an object, or a list of them, stays what it is.

    Raises:
        ValueError: no answer can be read from the cell, it is none of the labels, or it would earn nothing.
    """
    several = _several(cell)
    try:
        texts = [document(item).strip() for item in (cell if several else [cell])]
    except ValueError as error:
        raise ValueError(f"the answer can't be read: {error}; write it as a text") from None
    read_out = [read_answer(text, layout) for text in texts]
    columns: Row = {"answer": read_out[0]}
    if isinstance(cell, list | dict) and read_out == texts:
        columns["answer"] = cell
    elif several:
        columns["answer"] = read_out
    elif read_out != texts:
        columns["solution"] = cell if row.get("solution") is None else row["solution"]
    best = full_marks({**row, **columns}, layout.extraction)
    if (earned := extractor(layout.extraction)(best)) != read_out[0]:
        raise ValueError(
            f"the answer {read_out[0][-60:]!r} earns nothing, since extraction: {layout.extraction} reads {earned!r} from it; "
            "set answer_extraction, or another extraction"
        )
    return columns


def _several(cell: Any) -> bool:
    """Whether a cell is a list of answers, each a text or a number."""
    return isinstance(cell, list) and not any(isinstance(item, list | dict) for item in cell)


def read_answer(text: str, layout: Layout) -> str:
    """One answer as `answer_extraction` reads it; with labels, it is one of them. Else a ValueError."""
    read_out = text if layout.answer_extraction is None else extractor(layout.answer_extraction)(text)
    if read_out is None:
        raise ValueError(f"no answer can be read from {text[-60:]!r} by answer_extraction: {layout.answer_extraction}")
    if layout.labels is not None and read_out not in layout.labels:
        hint = nearest(read_out, layout.labels)
        if layout.guessed_labels:
            hint = (
                "; YAML reads yes, no, on, off as true and false, and 007 or 1.50 as numbers: put the labels in quotes"
            )
        raise ValueError(f"'{read_out}' is not one of the labels{hint} (labels: {', '.join(layout.labels)})")
    return read_out


def full_marks(row: Row, extraction: str) -> str:
    """The completion from which `extraction` reads the row's answer: its worked solution where that will do."""
    answer, solution = row["answer"], row.get("solution")
    if isinstance(solution, str) and extractor(extraction)(solution) == answer:
        return solution
    if _several(answer):
        answer = answer[0]
    return WRITTEN.get(extraction, "{}").format(document(answer).strip())


def prompt_template(prompt: str) -> Template:
    """The template of a prompt.

    Raises:
        BadInput: it isn't a `str.format` template, or names no column.
    """
    try:
        template = Template(prompt)
    except ValueError as error:
        raise BadInput(f"the prompt '{prompt}' is not a template: {error}; write {{{{ and }}}} for braces") from None
    names = template.columns
    if not names or not all(names) or any(name.isdigit() for name in names):
        raise BadInput(f"the prompt '{prompt}' should name at least one column, as in 'Question: {{question}}'")
    return template


def key_of(row: Row) -> str:
    """What makes two rows the same task: the prompt, white space aside."""
    return " ".join(prompt_text(row).split())
