"""Parquet files and datasets of the Hub: Arrow's types as Python values.

Invariants: nothing is guessed: integers are whole, decimals are decimals, lists are lists. Class numbers become
their names, a 32-bit float the shortest number that reads as it; columns of bytes (pictures, sounds) are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..configs.errors import BadInput


def read_parquet(file: Path) -> Any:
    """The `datasets.Dataset` that one Parquet file holds, class names included, read as exactly this file."""
    import datasets
    import pyarrow.parquet

    with file.open("rb") as stream:  # a path would be read as a pattern
        return datasets.Dataset(pyarrow.parquet.ParquetFile(stream).read())


def arrow_records(where: str, dataset: Any) -> tuple[list[str], list[dict[str, Any]], dict[str, str]]:
    """Columns, rows, and the columns left out with the reason.

    Args:
        where: the table as the user wrote it, for messages.
        dataset: a `datasets.Dataset`, read in the order that it has.

    Raises:
        BadInput: two columns of one name.
    """
    table = dataset.with_format("arrow")[:] if dataset._indices is not None else dataset.data.table
    names = table.column_names
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BadInput(f"{where}: the column '{twice}' is there twice; rename one of them")
    left_out = {f.name: "bytes" for f in table.schema if _holds_bytes(f.type)}
    columns = [name for name in names if name not in left_out]
    turned = {column: turn for column in columns if (turn := _turn(table.schema.field(column).type, dataset, column))}
    records: list[dict[str, Any]] = []
    for batch in table.select(columns).to_batches(max_chunksize=10_000):
        part = batch.to_pylist()
        for column, turn in turned.items():
            for record in part:
                record[column] = turn(record[column])
        records += part
    if not columns:
        records = [{} for _ in range(table.num_rows)]
    return columns, records, left_out


def _holds_bytes(kind: Any) -> bool:
    import pyarrow.types as types

    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return True
    return any(_holds_bytes(kind.field(i).type) for i in range(kind.num_fields)) if types.is_nested(kind) else False


def _turn(kind: Any, dataset: Any, column: str) -> Callable[[Any], Any] | None:
    """What makes a cell of Arrow's value; None where it is one already."""
    import numpy
    import pyarrow.types as types
    from datasets import ClassLabel

    feature = dataset.features[column]
    if isinstance(feature, ClassLabel):
        # -1 is how datasets write "no label" in their test splits.
        return lambda value: None if value is None or value < 0 else feature.int2str(value)
    if types.is_float32(kind) or types.is_float16(kind):
        narrow = numpy.float32 if types.is_float32(kind) else numpy.float16
        return lambda value: None if value is None else float(str(narrow(value)))
    return None
