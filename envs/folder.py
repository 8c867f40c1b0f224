"""The files of a table in a folder, and which split each belongs to by its name, as `datasets` has it.

Invariants: every file of a table in the folder is in one split, or the folder is refused; nothing is read as a pattern.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from ..configs.errors import BadInput

WORDS = {
    "train": {"train", "training"},
    "validation": {"validation", "valid", "val", "dev"},
    "test": {"test", "testing", "eval", "evaluation"},
}
"""split -> words in the name of a file, or of a folder above it, that put it there."""
_SHARD = re.compile(r"(?:.*/)?(\w+(?:\.\w+)*)-\d{5}-of-\d{5}\.\w+")


def folder_files(where: str, folder: Path, extensions: Collection[str]) -> dict[str, list[Path]]:
    """Split -> its files, in the order of their names; one split `train` where no name says one.

    Empty where the folder holds no such files, or a README with the `configs` of a dataset of the Hub, which decide.

    Args:
        where: the folder as the user wrote it, for messages.
        extensions: those of the files that can be read.

    Raises:
        BadInput: a packed file, or one whose name says no split where that of another does.
    """
    readme = folder / "README.md"
    if readme.is_file() and re.search(r"^configs:", readme.read_text("utf-8", "replace"), re.MULTILINE):
        return {}
    found: dict[str | None, list[Path]] = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        inside = file.relative_to(folder)
        if any(part.startswith((".", "__")) for part in inside.parts):
            continue
        if file.suffix.lower() in extensions:
            found.setdefault(split_of(inside.as_posix()), []).append(file)
        elif any(suffix.lower() in extensions for suffix in file.suffixes):
            raise BadInput(f"{where}/{inside}: '{file.suffix}' files can't be read; unpack it, or remove it")
    if None in found and len(found) > 1:
        inside = found[None][0].relative_to(folder)
        raise BadInput(
            f"{where}/{inside}: its name says no split, as those of others in the folder do; name each split's file with "
            "paths: {split: file}, or remove it"
        )
    order = list(WORDS)
    names = sorted(found, key=lambda split: order.index(split) if split in order else len(order))
    return {split or "train": found[split] for split in names}


def split_of(name: str) -> str | None:
    """The split that the name of a file says, seen from its folder."""
    if shard := _SHARD.fullmatch(name):
        return shard[1]
    words = set(re.split(r"[-._ /\d]+", name.lower()))
    return next((split for split, those in WORDS.items() if words & those), None)
