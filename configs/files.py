"""The user's own files: which of them a config names, where they were, and what they held.

Invariants: no torch; a file counts by its content and never by its time or its place; a Python file counts together with the
files beside it that it imports, and with those that its texts name (`open("words.txt")`), except where it writes them.

    known = manifest({"environment": "jobs.py:Mine", "environment_kwargs": {"path": "data.csv"}}, Path("project"))
    known["data.csv"]            # {"path": "/abs/project/data.csv", "module": False, "holds": {"data.csv": "8d96..."}}
    places, changed = look_up(known, Path("project"))
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import os
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

KEYS = ("environment", "environment_kwargs", "rewards")
"""The keys of a config under which files are named."""
FOLDERS = ("path", "paths", "folder", "data")
"""Keys under which a plain word may name a folder; elsewhere a folder's name needs a slash, for `docs` may be a label."""
_SPEC = re.compile(r"(?P<file>[^\n]+\.py):[A-Za-z_][\w.]*")
_MODULE = re.compile(r"(?P<module>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):[A-Za-z_][\w.]*")
_WRITES = re.compile(r"[wax][bt]?\+?[bt]?")
_WRITERS = ("write_text", "write_bytes", "touch", "unlink", "mkdir", "FileHandler")

Manifest = dict[str, dict[str, Any]]
"""Name as the config writes it -> `path` (absolute), whether it is a `module` that is imported by name, and what it `holds`:
the name of each file -> the hash of its content."""


def content_hash(path: Path) -> str:
    """SHA-256 (16 hex digits) of a file, or of every file below a folder with its name.

    Hidden files and the folders of runs, which lie beside the data as a rule, are no part of a folder.
    """
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(_below(path)):
        with file.open("rb") as stream:
            digest.update(str(file.relative_to(path)).encode() + b"\0" + hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = [
            f for f in folders if f[0] != "." and f != "__pycache__" and not Path(place, f, "run.json").exists()
        ]
        yield from (path for file in files if file[0] != "." and (path := Path(place, file)).is_file())


def holds(path: Path) -> dict[str, str]:
    """Each file that belongs to `path`, named from its folder -> the hash of its content."""
    files = [path, *code_beside(path), *_named(path)] if path.suffix == ".py" else [path]
    return {_shown(file, path): content_hash(file) for file in dict.fromkeys(files)}


def code_beside(path: Path) -> list[Path]:
    """The user's own Python files that the one at `path` imports, directly or through another, wherever they import it."""
    found: list[Path] = []
    ahead = [path]
    while ahead:
        for file in _imported(ahead.pop()):
            if file != path and file not in found:
                found.append(file)
                ahead.append(file)
    return sorted(found)


def is_own(file: str | Path | None) -> bool:
    """Whether a module's file is the user's: neither the standard library's, nor an installed package's, nor Journeyman's."""
    if file is None or not str(file).endswith(".py"):
        return False
    return not any(Path(file).resolve().is_relative_to(folder) for folder in _foreign())


@functools.lru_cache(maxsize=1)
def _foreign() -> tuple[Path, ...]:
    places = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return tuple(Path(str(place)).resolve() for place in (*places, Path(__file__).parents[1]) if place)


def _imported(path: Path) -> Iterator[Path]:
    for node in ast.walk(_tree(path)):
        names: list[tuple[Path, str]] = []
        if isinstance(node, ast.Import):
            names = [(path.parent, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            folder = path.parents[max(node.level - 1, 0)]
            stem = [node.module] if node.module else []
            names = [
                (folder, ".".join([*stem, *more])) for more in ([], *([a.name] for a in node.names)) if stem or more
            ]
        for folder, name in names:
            place = folder.joinpath(*name.split("."))
            beside = next((p for p in (place.with_suffix(".py"), place / "__init__.py") if p.is_file()), None)
            loaded = getattr(sys.modules.get(name), "__file__", None)
            if loaded and is_own(loaded):
                yield Path(str(loaded)).resolve()
            elif beside is not None:
                yield beside.resolve()


def _named(path: Path) -> list[Path]:
    """Files that exist and that a text in the source names, from its own folder or the current one; not what it writes."""
    tree = _tree(path)
    written = {id(part) for call in ast.walk(tree) if _writes(call) for part in ast.walk(call)}
    found = []
    for node in ast.walk(tree):
        text = getattr(node, "value", None) if isinstance(node, ast.Constant) and id(node) not in written else None
        if isinstance(text, str) and 2 < len(text) < 200 and re.fullmatch(r"[^\n\0]*[^\n\0. ]\.\w+", text):
            found += [p.resolve() for p in (path.parent / text, Path(text)) if _is_file(p)][:1]
    return found


def _writes(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    modes = [*node.args, *(word.value for word in node.keywords if word.arg == "mode")]
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    return name in _WRITERS or any(
        isinstance(mode, ast.Constant) and isinstance(mode.value, str) and _WRITES.fullmatch(mode.value)
        for mode in modes
    )


def _tree(path: Path) -> ast.AST:
    try:
        return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):  # importing it says what is wrong
        return ast.Module([], [])


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long for the file system
        return False


def _shown(file: Path, main: Path) -> str:
    return str(file.relative_to(main.parent)) if file.is_relative_to(main.parent) else file.name


def manifest(values: Mapping[str, Any], base: Path, places: Mapping[str, str] | None = None) -> Manifest:
    """Every file and folder of the user's that a config's `values` name.

    Args:
        base: the folder that a relative path is looked for in after the current one.
        places: name -> where it is, in place of looking for it.
    """
    found: Manifest = {}
    for key, text in _texts({key: values.get(key) for key in KEYS}):
        name, module = _reference(text)
        if name in found:
            continue
        path = Path(places[name]) if places and name in places else None
        if path is None:
            path = _module_file(name) if module else _place(name, key, base)
        if path is not None:
            found[name] = {"path": str(path.resolve()), "module": module, "holds": holds(path.resolve())}
    return found


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield from _texts(part, key if key in FOLDERS else str(name))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part, key)


def _place(name: str, key: str, base: Path) -> Path | None:
    if not name or len(name) > 1000 or "\n" in name or "\0" in name:
        return None
    for place in (Path(name).expanduser(), base / name):
        if _is_file(place) and (place.suffix or "/" in name or key in FOLDERS):
            return place
        if ("/" in name or key in FOLDERS) and place.is_dir():
            return place
    return None


def _module_file(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    origin = spec.origin if spec is not None else None
    return Path(origin) if origin and is_own(origin) else None


def names_in(values: Mapping[str, Any]) -> set[str]:
    """Every text in `values` that may name a file or a module, as a manifest has it."""
    return {_reference(text)[0] for _, text in _texts(values)}


def _reference(text: str) -> tuple[str, bool]:
    """The file or module of `file.py:attribute` and `module:attribute`, another text as it is; whether it is a module."""
    spec = _SPEC.fullmatch(text)
    module = None if spec else _MODULE.fullmatch(text)
    return (spec["file"] if spec else module["module"] if module else text), module is not None


def in_folder(values: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Name -> place of the files that a config's `values` name and that lie in `folder`."""
    found = {}
    for key, text in _texts({key: values.get(key) for key in KEYS}):
        name = _reference(text)[0]
        if not Path(name).is_absolute() and (place := _place(str(folder / name), key, folder)) is not None:
            found[name] = str(place.resolve())
    return found


def look_up(known: Manifest, base: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Where the files of `known` are now, and what is wrong with which.

    A file is first looked for where it was; a copy with the same content in `base` or the current folder will do as well.

    Returns:
        name -> its place; and name -> what changed, such as "helper.py, which jobs.py uses, has changed".
    """
    places: dict[str, str] = {}
    wrong: dict[str, str] = {}
    for name, was in known.items():
        if was["module"]:
            candidates = [file for file in [_module_file(name)] if file is not None]
        else:
            places_of = (Path(was["path"]), base / name, Path(name).expanduser())
            candidates = [place for place in places_of if place.exists()]
        reasons = []
        for path in candidates:
            now = holds(path.resolve())
            if now == was["holds"]:
                break
            reasons.append(_change(name, was["holds"], now, Path(was["path"]).name))
        else:
            path = candidates[0] if candidates else Path(was["path"])
            wrong[name] = reasons[0] if reasons else f"{name} is gone (it was {was['path']})"
        if not was["module"]:
            places[name] = str(path.resolve())
    return places, wrong


def files_changed(was: Manifest, now: Manifest) -> list[str]:
    """What differs in the files of two manifests, a phrase each."""
    found = []
    for name in dict.fromkeys([*was, *now]):
        if name not in was or name not in now:
            found.append(f"{name} is {'gone' if name in was else 'new'}")
        elif was[name]["holds"] != now[name]["holds"]:
            found.append(_change(name, was[name]["holds"], now[name]["holds"], Path(was[name]["path"]).name))
    return found


def _change(name: str, was: Mapping[str, str], now: Mapping[str, str], main: str) -> str:
    changed = [part for part in {**was, **now} if was.get(part) != now.get(part)]
    others = [part for part in changed if part != main]
    if main in changed or not others:
        return f"{name} has changed"
    how = "is gone" if others[0] not in now else "has changed"
    return f"{others[0]}, which {name} uses, {how}"


def placed(value: Any, places: Mapping[str, str]) -> Any:
    """`value` with each name of a file in it replaced by the file's place; `file.py:attribute` keeps its attribute."""
    if isinstance(value, str):
        spec = _SPEC.fullmatch(value)
        if spec and spec["file"] in places:
            return places[spec["file"]] + value[len(spec["file"]) :]
        return places.get(value, value)
    if isinstance(value, Mapping):
        return {key: placed(part, places) for key, part in value.items()}
    return [placed(part, places) for part in value] if isinstance(value, list | tuple) else value
