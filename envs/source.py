"""Where a table lies and how it is read: CSV, JSON, JSON Lines and Parquet files, folders of them, Hub datasets.

Always true here: everything is loaded through `datasets`, imported on first use; the cells of a CSV file are texts as
they are written (no `007` becomes 7, no `NA` becomes nothing); class numbers of a Hub dataset become their names; a
table that can't be read is a BadInput naming it.
"""

from __future__ import annotations

import contextlib
import csv
import functools
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..configs.errors import BadInput, nearest

KINDS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
"""file extension -> the loader of `datasets` that reads it"""


class Source(NamedTuple):
    """One table: `where` as the user wrote it, the file it stands for (None: a Hub dataset), and which part of it."""

    where: str
    file: str | None
    name: str | None = None
    revision: str | None = None
    split: str | None = None
    stamp: tuple[int, int] = (0, 0)
    """When the file was changed (ns) and its size (bytes): a changed file is read anew."""


class Loaded(NamedTuple):
    """A table in memory: its columns, and the `datasets.Dataset`."""

    columns: list[str]
    dataset: Any

    def records(self, columns: Collection[str]) -> Iterator[dict[str, Any]]:
        """The cells of `columns`, row by row."""
        from datasets import ClassLabel

        names = {c: f for c in columns if isinstance(f := self.dataset.features[c], ClassLabel)}
        for record in self.dataset.select_columns(sorted(columns)):
            for column, feature in names.items():
                # -1 is how datasets write "no label" in their test splits.
                value = record[column]
                record[column] = None if value is None or value < 0 else feature.int2str(value)
            yield record


def find_source(path: str, base: str | None = None, name: str | None = None, revision: str | None = None) -> Source:
    """The file or folder that `path` names, in the current folder or else in `base`; a Hub id where there is none.

    Raises:
        BadInput: a file that isn't there or has an unknown extension, or `name` or `revision` for a file.
    """
    places = [Path(path).expanduser()] + ([Path(base, path)] if base else [])
    found = next((place for place in places if place.exists()), None)
    if found is None:
        if Path(path).suffix.lower() in KINDS or path.startswith(("/", ".", "~")) or path.count("/") > 1 or not path:
            looked = " and ".join(dict.fromkeys(str(place) for place in places))
            raise BadInput(f"{path}: no such file (looked for {looked}); correct the path")
        return Source(path, None, name, revision)
    if found.is_file() and found.suffix.lower() not in KINDS:
        raise BadInput(f"{path}: '{found.suffix}' files can't be read; convert it to one of {', '.join(KINDS)}")
    if revision is not None or (name is not None and found.is_file()):
        raise BadInput(f"{path}: 'name' and 'revision' belong to Hub datasets and this is a local path; remove them")
    status = found.stat()
    return Source(path, str(found.resolve()), name, stamp=(status.st_mtime_ns, status.st_size))


@functools.lru_cache(maxsize=16)
def read(source: Source) -> Loaded:
    """The table behind `source`.

    Raises:
        BadInput: it can't be read, is empty, or has several splits of which none is named.
    """
    file = Path(source.file) if source.file else None
    if file is not None and file.is_file():
        if source.split is not None:
            raise BadInput(f"{source.where}: a single file has no splits of its own; use paths: {{split: file}}")
        dataset = _read_file(source.where, file)
    else:
        dataset = _read_dataset(source)
    if dataset.num_rows == 0:
        raise BadInput(f"{source.where}: the table has no rows; give one that has")
    return Loaded(list(dataset.column_names), dataset)


def _read_file(where: str, file: Path) -> Any:
    import datasets

    options: dict[str, Any] = {}
    if file.stat().st_size == 0:
        raise BadInput(f"{where}: the file is empty; give one that has rows")
    kind = KINDS[file.suffix.lower()]
    try:
        if kind == "csv":
            separator = "\t" if file.suffix.lower() == ".tsv" else ","
            with file.open(encoding="utf-8-sig", newline="") as stream:
                header = next(csv.reader(stream, delimiter=separator), [])
            if twice := next((column for column in header if header.count(column) > 1), None):
                raise BadInput(f"{where}: the column '{twice}' is there twice; rename one of them")
            texts = datasets.Features({column: datasets.Value("string") for column in header})
            options = {"sep": separator, "features": texts, "keep_default_na": False, "encoding": "utf-8-sig"}
        with _no_bars():
            return datasets.load_dataset(kind, data_files=[str(file)], split="train", **options)
    except BadInput:
        raise
    except Exception as error:  # whatever the parsers below `datasets` raise
        if any(sign in _reason(error) for sign in ("corresponds to no data", "BatchSize must be greater than 0")):
            raise BadInput(f"{where}: the table has no rows; give one that has") from None
        raise BadInput(f"{where}: not a readable {kind} file: {_reason(error)}") from error


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """A file on the disk is read in a moment and needs no progress bar; a download from the Hub keeps its own."""
    import datasets

    hidden = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not hidden:
            datasets.enable_progress_bars()


def _read_dataset(source: Source) -> Any:
    import datasets

    place = source.file or source.where
    try:
        loaded = datasets.load_dataset(place, source.name, revision=source.revision)
    except Exception as error:  # the Hub's and the network's errors have no common class
        raise BadInput(
            f"{source.where}: can't be loaded as a file or a Hub dataset ({_reason(error)}); check the name, unset "
            "HF_HUB_OFFLINE if it is set, or give the path of a local file"
        ) from error
    own = list(loaded)
    if source.split is None:
        if len(own) > 1:
            raise BadInput(
                f"{source.where}: the dataset has the splits {', '.join(own)}; say which is which, for example "
                f"split_names: {{train: {own[0]}, heldout: {own[-1]}}}"
            )
        return loaded[own[0]]
    if source.split not in loaded:
        hint = nearest(source.split, own)
        raise BadInput(f"{source.where}: the dataset has no split '{source.split}'{hint} (splits: {', '.join(own)})")
    return loaded[source.split]


def _reason(error: BaseException) -> str:
    """The innermost cause in one line of at most 300 characters."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
