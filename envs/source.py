"""Where a table lies and how it is read: CSV, JSON, JSON Lines and Parquet files, folders of them, Hub datasets.

Invariants: a path is a path and never a pattern; a cell is what the file says, wherever the file came from: what
`datasets` finds on the Hub as CSV or JSON is read by `csv_table` and `json_table` too; a table that can't be read is a
BadInput naming it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..configs.errors import BadInput, nearest
from .arrow_table import arrow_records, read_parquet
from .csv_table import read_csv
from .folder import folder_files
from .json_table import read_json

KINDS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
"""file extension -> how it is read"""


class Source(NamedTuple):
    """One table: `where` as the user wrote it, the file it stands for (None: a Hub dataset), and which part of it."""

    where: str
    file: str | None
    name: str | None = None
    revision: str | None = None
    split: str | None = None
    stamp: tuple[Any, ...] = ()
    """When each of its files was changed (ns) and its size (bytes): what has changed is read anew."""


class Loaded(NamedTuple):
    """A table in memory: its columns, the cells of each row, and the columns that can't be read with the reason."""

    columns: list[str]
    records: list[dict[str, Any]]
    left_out: dict[str, str]
    starts: Sequence[tuple[int, str]]
    """(number of rows before it, its name) of each file the table was read from"""

    def at(self, number: int) -> str:
        """The file and the row in it, for messages; `number` counts from 0 over all files."""
        before, where = next(start for start in reversed(self.starts) if start[0] <= number)
        return f"{where}: row {number - before + 1}"


def find_source(path: str, base: str | None = None, name: str | None = None, revision: str | None = None) -> Source:
    """The file or folder that `path` names, in the current folder or else in `base`; a Hub id where there is none.

    Raises:
        BadInput: a file that isn't there or has an unknown extension, or `name` or `revision` for a file.
    """
    places = [Path(path)] + ([Path(base, path)] if base else [])
    if path.startswith("~"):
        with contextlib.suppress(RuntimeError):  # there is no such user: then it is a name like any other
            places.append(Path(path).expanduser())
    found = next((place for place in places if place.exists()), None) if path else None
    if found is None:
        if Path(path).suffix.lower() in KINDS or path.startswith(("/", ".", "~")) or path.count("/") > 1 or not path:
            looked = " and ".join(dict.fromkeys(str(place) for place in places))
            raise BadInput(f"{path}: no such file (looked for {looked}); correct the path")
        return Source(path, None, name, revision)
    if found.is_file() and found.suffix.lower() not in KINDS:
        raise BadInput(f"{path}: '{found.suffix}' files can't be read; convert it to one of {', '.join(KINDS)}")
    if revision is not None or (name is not None and found.is_file()):
        raise BadInput(f"{path}: 'name' and 'revision' belong to Hub datasets and this is a local path; remove them")
    files = [found] if found.is_file() else sorted(file for file in found.rglob("*") if file.is_file())
    stamp = tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files)
    return Source(path, str(found.resolve()), name, stamp=stamp)


def read(source: Source) -> Loaded:
    """The table behind `source`.

    Raises:
        BadInput: it can't be read, is empty, or has several splits of which none is named.
    """
    file = Path(source.file) if source.file else None
    if file is not None and file.is_file():
        if source.split is not None:
            raise BadInput(f"{source.where}: a single file has no splits of its own; use paths: {{split: file}}")
        loaded = _read_file(source.where, file, KINDS[file.suffix.lower()])
    elif file is not None and source.name is None and (files := folder_files(source.where, file, KINDS)):
        loaded = _read_folder(source, files)
    else:
        loaded = _read_dataset(source)
    if not loaded.records:
        raise BadInput(f"{source.where}: the table has no rows; give one that has")
    return loaded


def _read_file(where: str, file: Path, kind: str, separator: str | None = None) -> Loaded:
    left_out: dict[str, str] = {}
    try:
        if file.stat().st_size == 0:
            raise BadInput(f"{where}: the file is empty; give one that has rows")
        if kind == "csv":
            columns, records = read_csv(where, file, separator or ("\t" if where.lower().endswith(".tsv") else ","))
        elif kind == "json":
            columns, records = read_json(where, file)
        else:
            columns, records, left_out = arrow_records(where, read_parquet(file))
    except BadInput:
        raise
    except Exception as error:  # whatever the system and the parsers below `datasets` raise
        raise BadInput(f"{where}: not a readable {kind} file: {_reason(error)}") from error
    return Loaded(columns, records, left_out, [(0, where)])


def _read_folder(source: Source, files: Mapping[str, Sequence[Path]]) -> Loaded:
    """The files of one split of a folder, as one table."""
    parts = []
    for file in files[_split_of(source, list(files))]:
        where = f"{source.where.rstrip('/')}/{file.relative_to(str(source.file)).as_posix()}"
        parts.append(_read_file(where, file, KINDS[file.suffix.lower()]))
    return _joined(source.where, parts)


def _read_dataset(source: Source) -> Loaded:
    """A dataset of the Hub, or a folder that only `datasets` knows how to read."""
    import datasets

    if source.file and (signs := set(source.file) & set("[]*?{}")):
        raise BadInput(f"{source.where}: its path holds '{min(signs)}', which `datasets` reads as a pattern; rename it")
    place = source.file or source.where
    try:
        builder = datasets.load_dataset_builder(place, source.name, revision=source.revision)
        if builder.name in ("csv", "json"):  # whose readers in `datasets` guess
            files = {str(split): list(map(str, names)) for split, names in builder.config.data_files.items()}
            split = _split_of(source, list(files))
            return _joined(source.where, [_read_download(source, name, builder) for name in files[split]])
        loaded = datasets.load_dataset(place, source.name, revision=source.revision)
        split = _split_of(source, list(loaded))
        columns, records, left_out = arrow_records(source.where, loaded[split])
        return Loaded(columns, records, left_out, [(0, source.where)])
    except BadInput:
        raise
    except Exception as error:  # the Hub's and the network's errors have no common class
        raise BadInput(
            f"{source.where}: can't be loaded as a file or a Hub dataset ({_reason(error)}); check the name, unset "
            "HF_HUB_OFFLINE if it is set, or give the path of a local file"
        ) from error


def _read_download(source: Source, name: str, builder: Any) -> Loaded:
    """One CSV or JSON file that `datasets` found, fetched and unpacked by it and read by us."""
    import datasets

    options = datasets.DownloadConfig(token=builder.token, storage_options=builder.storage_options)
    local = datasets.DownloadManager(download_config=options).download_and_extract(name)
    kind = KINDS.get(Path(name).suffix.lower(), builder.name)
    separator = "\t" if Path(name).suffix.lower() == ".tsv" else getattr(builder.config, "sep", None)
    return _read_file(f"{source.where}/{name.rpartition('/')[2]}", Path(local), kind, separator)


def _joined(where: str, parts: Sequence[Loaded]) -> Loaded:
    """Several files as one table. All must have the same columns, but that a JSON file may lack a key as a row may."""
    columns = list(dict.fromkeys(column for part in parts for column in part.columns))
    records: list[dict[str, Any]] = []
    starts: list[tuple[int, str]] = []
    for part in parts:
        name = part.starts[0][1]
        starts.append((len(records), name))
        lacking = [column for column in columns if column not in part.columns]
        if lacking and KINDS.get(Path(name).suffix.lower()) != "json":
            raise BadInput(
                f"{name}: there is no column '{lacking[0]}', which other files of {where} have; give it to all"
            )
        records += (
            [{column: record.get(column) for column in columns} for record in part.records] if lacking else part.records
        )
    return Loaded(columns, records, {name: why for part in parts for name, why in part.left_out.items()}, starts)


def _split_of(source: Source, own: Sequence[str]) -> str:
    """The split of the dataset that is read."""
    if source.split is None:
        if len(own) > 1:
            raise BadInput(
                f"{source.where}: the dataset has the splits {', '.join(own)}; say which is which, for example "
                f"split_names: {{train: {own[0]}, heldout: {own[-1]}}}"
            )
        return own[0]
    if source.split not in own:
        hint = nearest(source.split, own)
        raise BadInput(f"{source.where}: the dataset has no split '{source.split}'{hint} (splits: {', '.join(own)})")
    return source.split


def _reason(error: BaseException) -> str:
    """The innermost cause in one line of at most 300 characters."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
