"""A job out of any table: a CSV, JSON, JSON Lines or Parquet file, or a dataset of the Hugging Face Hub.

Invariants: a cell is what the file says (`007` stays `007`, a JSON list stays a list, no text becomes a date); every column
is there for rewards under its own name; identical prompts lie in one split, whoever made the splits; and every answer has
been checked to earn full marks under the extraction the rows are judged by.

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

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..configs.errors import BadInput
from ..rewards.text import extractor
from .baselines import tfidf_logistic
from .core import Row, Rows, prompt_text
from .source import Source, find_source
from .table_arguments import check_given, check_text, check_texts, read_labels
from .table_rows import Layout, full_marks, key_of, prepare

SHARES = {"demonstrations": 0.1, "train": 0.5, "validation": 0.1, "heldout": 0.3}
"""A small table needs a larger held-out share for an interval narrow enough to see a difference."""

FEW_LABELS = 50
"""With at most so many different answers, each given twice or more on average, a table is a classification."""


class NoAnswer(BadInput, NotImplementedError):
    """The table names no column of answers, so there is none to give."""


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
            columns: another name that a reward asks for -> column of the table. Every column is there under its own name too,
                but for the names that a row or a rollout fills in itself (`table_rows.FILLED`).
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
        texts = {
            "path": path, "prompt": prompt, "answer": answer, "name": name, "revision": revision,
            "system_prompt": system_prompt, "extraction": extraction, "answer_extraction": answer_extraction,
        }  # fmt: skip
        for key, value in texts.items():
            if value is not None or key in ("prompt", "extraction"):
                check_text(key, value)
        for key, mapping in (("columns", columns), ("paths", paths), ("split_names", split_names)):
            if mapping is not None:
                check_texts(key, mapping)
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
        self.labels: list[str] | None = None
        guessed = False
        if labels is not None:
            self.labels, guessed = read_labels(labels)
        self._answered = answer is not None
        layout = Layout(
            prompt,
            answer,
            tuple((columns or {}).items()),
            extraction,
            answer_extraction,
            None if self.labels is None else tuple(self.labels),
            guessed,
        )
        self._rows, self._splits, self.version, self.notices = prepare(
            tuple(sources.items()), layout, tuple(self.shares.items())
        )

    def rows(self) -> Sequence[Row]:
        """Every row; of those with one prompt the first, and `notices` counts the others."""
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
            NoAnswer: the table has no answer column.
        """
        if not self._answered:
            raise NoAnswer("this table names no 'answer' column, so there is no right answer to give")
        return full_marks(row, self.extraction)

    def baseline(self, rows: Sequence[Row], demonstrations: Sequence[Row]) -> list[str] | None:
        """For a classification, TF-IDF and logistic regression fitted on `demonstrations`; else None."""
        if not demonstrations or not self._answered or not all(isinstance(row["answer"], str) for row in self._rows):
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
