"""A job out of any table: a CSV, JSON, JSON Lines or Parquet file, or a dataset of the Hugging Face Hub.

Always true here: identical prompts lie in one split, whoever made the splits; every answer has been checked to earn
full marks under the extraction the rows are judged by; and the cells of a CSV file stay as written (`007` stays `007`).

    environment: journeyman.envs.table:Table
    environment_kwargs:
      path: tickets.csv
      prompt: "{subject}\\n{body}"
      answer: team
      labels: [billing, delivery, other]

    environment_kwargs:
      path: openai/gsm8k
      name: main
      prompt: "{question}"
      answer: answer
      extraction: hash_answer
      answer_extraction: hash_answer
      split_names: {train: train, heldout: test}
"""

from __future__ import annotations

import functools
import json
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..configs.errors import BadInput, nearest
from ..rewards.text import extractor
from .baselines import tfidf_logistic
from .core import SPLITS, Row, Rows, check_disjoint, check_split, deal, digest, prompt_text
from .source import Source, find_source, read

SHARES = {"demonstrations": 0.1, "train": 0.5, "validation": 0.1, "heldout": 0.3}
"""A small table needs a larger held-out share for an interval narrow enough to see a difference."""

FEW_LABELS = 50
"""With at most so many different answers, each given twice or more on average, a table is a classification."""

_WRITTEN = {"hash_answer": "#### {}", "boxed": "\\boxed{{{}}}"}
"""extraction -> how an answer is written for it; the others read the answer as it is."""


class Table(Rows):
    """The rows of a table as tasks: a prompt from a template over the columns, and the answer from one of them."""

    def __init__(
        self,
        path: str | None = None,
        *,
        prompt: str,
        answer: str | None = None,
        paths: Mapping[str, str] | None = None,
        name: str | None = None,
        revision: str | None = None,
        columns: Mapping[str, str] | None = None,
        system_prompt: str | None = None,
        extraction: str = "strip",
        answer_extraction: str | None = None,
        labels: Sequence[Any] | None = None,
        split_names: Mapping[str, str] | None = None,
        shares: Mapping[str, float] | None = None,
        base: str | None = None,
    ) -> None:
        """Read the table and check every row; a table already read in this process isn't read again.

        Args:
            path: a file (`.csv`, `.tsv`, `.json`, `.jsonl`, `.parquet`), a folder of them, or the id of a Hub dataset.
            prompt: a `str.format` template over the columns, such as `"{question}"`.
            answer: the column with the right answer; without one, only rewards that need none apply.
            paths: in place of `path`: split -> its own file.
            name: the configuration of the Hub dataset.
            revision: the branch, tag or commit of the Hub dataset.
            columns: name that a reward asks for -> column of the table.
            system_prompt: put before every prompt.
            extraction: how an answer is read out of a completion, a name of `rewards.text.EXTRACTORS`; in every row.
            answer_extraction: how the answer is read out of its cell; the whole cell where None.
            labels: the answers there are; any other in the table is an error.
            split_names: our split -> the dataset's own.
            shares: the fraction of each split, by a hash of the content. With `paths` or `split_names`: how the rows
                of `train` are divided among itself and the splits not named there.
            base: the folder that relative paths are looked for in after the current one.

        Raises:
            BadInput: anything above that can't be used, naming the file, the row or column, and the mend.
        """
        super().__init__(SHARES if shares is None else shares, system_prompt)
        for known in (extraction, answer_extraction or extraction):
            extractor(known)
        if (path is None) == (paths is None):
            raise BadInput("a table needs either 'path' (a file or a Hub dataset) or 'paths' (split: file)")
        if paths is not None and split_names is not None:
            raise BadInput("'split_names' goes with 'path', and 'paths' names the splits itself: remove one of them")
        given = split_names if paths is None else paths
        if given is not None:
            check_given(given, shares or {})
        sources: dict[str, Source] = {}
        ours: Mapping[str, Any] = {"": None} if given is None else given
        for split, own in ours.items():
            where = path if paths is None else own
            source = find_source(str(where), base, name, revision)
            sources[split] = source._replace(split=own) if paths is None else source
        self.extraction = extraction
        self.labels = None if labels is None else [str(label) for label in labels]
        layout = Layout(
            prompt,
            answer,
            tuple((columns or {}).items()),
            extraction,
            answer_extraction,
            None if self.labels is None else tuple(self.labels),
        )
        self._rows, self._splits, self.version = prepare(tuple(sources.items()), layout, tuple(self.shares.items()))

    def rows(self) -> Sequence[Row]:
        """Every row, duplicates dropped."""
        return self._rows

    def key(self, row: Row) -> str:
        """The prompt, white space aside."""
        return key_of(row)

    def split_of(self, row: Row) -> str:
        """The split it was given to, or that its content falls into."""
        return self._splits[self.key(row)]

    def oracle(self, row: Row) -> str:
        """The worked solution where there is one that reads as the answer, else the answer as `extraction` reads it.

        Raises:
            BadInput: the table has no answer column.
        """
        if "answer" not in row:
            raise BadInput("this table names no 'answer' column, so there is no right answer to give")
        return full_marks(row, self.extraction)

    def baseline(self, rows: Sequence[Row], demonstrations: Sequence[Row]) -> list[str] | None:
        """For a classification, TF-IDF and logistic regression fitted on `demonstrations`; else None."""
        if not demonstrations or not all("answer" in row for row in demonstrations):
            return None
        counts = Counter(row["answer"] for row in self._rows)
        if self.labels is None and (len(counts) > FEW_LABELS or 2 * len(counts) > len(self._rows)):
            return None
        answers = tfidf_logistic(
            [prompt_text(row) for row in demonstrations],
            [row["answer"] for row in demonstrations],
            [prompt_text(row) for row in rows],
        )
        return [full_marks({"answer": answer}, self.extraction) for answer in answers]


class Layout(NamedTuple):
    """What becomes of a table's columns; the arguments of `Table` by the same names."""

    prompt: str
    answer: str | None
    columns: tuple[tuple[str, str], ...]
    extraction: str
    answer_extraction: str | None
    labels: tuple[str, ...] | None


Prepared = tuple[tuple[Row, ...], dict[str, str], str]
"""Rows, key -> split, and a hash over both."""


@functools.lru_cache(maxsize=16)
def prepare(sources: tuple[tuple[str, Source], ...], layout: Layout, shares: tuple[tuple[str, float], ...]) -> Prepared:
    """Read the tables, check their rows and deal them to splits; `sources` has the one split "" where none is given."""
    tables = {split: make_rows(source, layout) for split, source in sources}
    try:
        check_disjoint(
            {
                split: [{"item": digest(key_of(row)), "index": number} for number, row in enumerate(rows, 1)]
                for split, rows in tables.items()
            }
        )
    except BadInput as error:
        raise BadInput(f"{', '.join(dict.fromkeys(source.where for _, source in sources))}: {error}") from None
    carved = {split: share for split, share in shares if split == "train" or split not in tables}
    total = sum(carved.values())
    kept: dict[str, Row] = {}
    splits: dict[str, str] = {}
    for split, rows in tables.items():
        for row in rows:
            key = key_of(row)
            if key not in kept:
                kept[key] = row
                whole = split not in ("", "train") or total == 0
                splits[key] = split if whole else deal(key, {name: share / total for name, share in carved.items()})
    state = json.dumps([list(kept.values()), splits], sort_keys=True, default=str)
    return tuple(kept.values()), splits, digest(state)


def make_rows(source: Source, layout: Layout) -> list[Row]:
    """The rows of one table.

    Raises:
        BadInput: a column that isn't there, an empty cell, an answer that isn't a label or would earn nothing.
    """
    needed = [(column, "prompt") for column in template_columns(layout.prompt)]
    needed += [(layout.answer, "answer")] if layout.answer is not None else []
    for name, column in layout.columns:
        if name in ("prompt", "answer", "extraction", "item", "index"):
            raise BadInput(f"'columns' can't set '{name}', a name that every row has; give it another name")
        needed.append((column, f"columns: {name}"))
    table = read(source)
    for column, place in needed:
        if column not in table.columns:
            raise BadInput(
                f"{source.where}: there is no column '{column}' ({place}){nearest(column, table.columns)} "
                f"(columns: {', '.join(table.columns)})"
            )
    rows: list[Row] = []
    for number, cells in enumerate(table.records({column for column, _ in needed}), 1):
        at = f"{source.where}: row {number}"
        for column, _ in needed:
            if cells[column] is None or (isinstance(cells[column], str) and not cells[column].strip()):
                raise BadInput(f"{at}: the cell in column '{column}' is empty; fill it in or remove the row")
        row: Row = {name: cells[column] for name, column in layout.columns}
        try:
            row["prompt"] = layout.prompt.format(**cells)
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            raise BadInput(f"{at}: the prompt '{layout.prompt}' can't be filled in: {error}") from None
        row["extraction"] = layout.extraction
        if layout.answer is not None:
            row |= answer_columns(str(cells[layout.answer]).strip(), layout, f"{at}, column '{layout.answer}'", row)
        rows.append(row)
    return rows


def answer_columns(cell: str, layout: Layout, at: str, row: Row) -> Row:
    """`answer`, and `solution` where the cell holds more than that and the table names no other."""
    read_out = cell if layout.answer_extraction is None else extractor(layout.answer_extraction)(cell)
    if read_out is None:
        raise BadInput(
            f"{at}: no answer can be read from {cell[-60:]!r} by answer_extraction: {layout.answer_extraction}"
        )
    if layout.labels is not None and read_out not in layout.labels:
        hint = nearest(read_out, layout.labels)
        raise BadInput(f"{at}: '{read_out}' is not one of the labels{hint} (labels: {', '.join(layout.labels)})")
    columns: Row = {"answer": read_out}
    if read_out != cell:
        columns["solution"] = row.get("solution", cell)
    best = full_marks({**row, **columns}, layout.extraction)
    if extractor(layout.extraction)(best) != read_out:
        raise BadInput(
            f"{at}: the answer {read_out[-60:]!r} earns nothing, since extraction: {layout.extraction} reads "
            f"{extractor(layout.extraction)(best)!r} from it; set answer_extraction, or another extraction"
        )
    return columns


def full_marks(row: Row, extraction: str) -> str:
    """The completion from which `extraction` reads the row's answer: its worked solution where that will do."""
    solution = row.get("solution")
    if isinstance(solution, str) and extractor(extraction)(solution) == row["answer"]:
        return solution
    return _WRITTEN.get(extraction, "{}").format(row["answer"])


def template_columns(template: str) -> list[str]:
    """The columns that a prompt template names.

    Raises:
        BadInput: it isn't a `str.format` template, or names no column.
    """
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise BadInput(f"the prompt '{template}' is not a template: {error}; write {{{{ and }}}} for braces") from None
    names = [field.split(".")[0].split("[")[0] for field in fields]
    if not names or not all(names) or any(name.isdigit() for name in names):
        raise BadInput(f"the prompt '{template}' should name at least one column, as in 'Question: {{question}}'")
    return list(dict.fromkeys(names))


def check_given(given: Mapping[str, Any], shares: Mapping[str, float]) -> None:
    """Raise BadInput unless the splits that the user made go with the shares of those to be carved from `train`."""
    if not given:
        raise BadInput(f"'paths' and 'split_names' should name at least one split (splits: {', '.join(SPLITS)})")
    for split in given:
        check_split(split)
    for split, share in shares.items():
        if share and split != "train" and (split in given or "train" not in given):
            raise BadInput(
                f"the share of '{split}' is {share:g}, but shares divide the rows of a given 'train' among itself and "
                f"the splits that are not given; remove '{split}' from the shares"
            )


def key_of(row: Row) -> str:
    """What makes two rows the same task: the prompt, white space aside."""
    return " ".join(prompt_text(row).split())
