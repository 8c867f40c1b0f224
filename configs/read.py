"""From a job's name or a YAML path to a plain mapping, and from `module:attribute` to the object it names.

Invariants: no torch, no schema; what a key means is for the reader above. A file may name another with
`extends: other.yaml` (relative to itself); its own keys win, and mappings are merged key by key. Code is run as its files
are now, in a process that has read them before as in a new one.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import linecache
import sys
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import yaml

from .errors import BadInput, nearest
from .files import code_beside, content_hash, is_own

CONFIGS = Path(__file__).resolve().parent
_FILES = "__journeyman_files__"


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key written twice, which YAML would let win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise BadInput(f"{node.start_mark.name}:{line}: the key '{key}' is written twice; keep one of them")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def shipped_jobs() -> dict[str, Path]:
    """Every job that comes with the package: name of its folder -> the YAML that its name alone stands for."""
    jobs = {}
    for folder in sorted(p for p in CONFIGS.iterdir() if p.is_dir() and (p / "job.yaml").exists()):
        jobs[folder.name] = folder / "nano.yaml"
    return jobs


def find_job(job: str | Path, recipe: str | None = None) -> Path:
    """The YAML file behind a job's name (`arithmetic`), a shipped path (`configs/gsm8k/qwen3-0.6b.yaml`) or a path.

    Args:
        recipe: a name stands for the file of that recipe where there is one (`nano-ppo.yaml`).

    Raises:
        BadInput: no such file, and no shipped job of that name.
    """
    path = Path(job).expanduser()
    if path.is_file():
        return path
    jobs = shipped_jobs()
    if str(job) in jobs:
        if not jobs[str(job)].exists():
            runs = sorted(
                f"configs/{job}/{p.name}" for p in (CONFIGS / str(job)).glob("*.yaml") if p.name != "job.yaml"
            )
            raise BadInput(f"the job '{job}' has a run for each model; give one of {', '.join(runs)}")
        of_recipe = jobs[str(job)].with_stem(f"{jobs[str(job)].stem}-{recipe}")
        return of_recipe if of_recipe.exists() else jobs[str(job)]
    parts = path.parts[1:] if path.parts[:1] == ("configs",) else path.parts
    if parts and (CONFIGS.joinpath(*parts)).is_file():
        return CONFIGS.joinpath(*parts)
    if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        raise BadInput(f"{path}: no such file; give the path of a YAML file, or one of the jobs {', '.join(jobs)}")
    raise BadInput(f"there is no job '{job}'{nearest(str(job), jobs)} (shipped: {', '.join(jobs)}; or a YAML path)")


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds, with what it `extends` merged under it.

    Raises:
        BadInput: unreadable, not YAML, not a mapping, a key twice, or `extends` going round in a circle.
    """
    return _read(path, ())


def _read(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in above:
        raise BadInput(f"{path}: 'extends' goes round in a circle")
    try:
        with path.open(encoding="utf-8") as stream:
            values = yaml.load(stream, _Loader) or {}
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise BadInput(f"{path}: a config is a mapping of keys to values, this file holds a {type(values).__name__}")
    parent = values.pop("extends", None)
    if parent is None:
        return values
    return merged(_read(path.parent / str(parent), (*above, path.resolve())), values)


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `under`: mappings key by key, everything else replaced."""
    result = dict(under)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


def load_attribute(spec: str, base: Path | None = None, *, again: bool = True) -> Any:
    """The object that `module:attribute` or `path.py:attribute` names; a relative path is looked for in `base` too.

    A file of the user's that has changed since it was read, or that imports one which has, is read again.

    Args:
        again: False takes a module that is loaded as it is.

    Raises:
        BadInput: not of that form, the module doesn't import, or it has no such attribute.
    """
    module_name, colon, attribute = spec.rpartition(":")
    if not colon or not module_name or not attribute:
        raise BadInput(f"'{spec}' should read module:attribute or path.py:attribute")
    try:
        module = _import_file(module_name, base, again) if module_name.endswith(".py") else _import(module_name, again)
    except BadInput:
        raise
    except Exception as error:
        raise BadInput(f"'{spec}': {module_name} does not import: {type(error).__name__}: {error}") from error
    value: Any = module
    for part in attribute.split("."):
        if not hasattr(value, part):
            names = [name for name in vars(module) if not name.startswith("_")]
            raise BadInput(f"'{spec}': {module_name} has no '{attribute}'{nearest(attribute, names)}")
        value = getattr(value, part)
    return value


def read_from(value: Any) -> dict[str, str]:
    """The user's files that the module of `value` (a function or a class) was made from: path -> hash of what was read.

    The module's own file comes first. Empty for one of the standard library, of an installed package or of ours.
    """
    module = sys.modules.get(getattr(value, "__module__", None) or "")
    return _files_of(getattr(value, "__globals__", None) or (vars(module) if module is not None else {}))


def _files_of(space: dict[str, Any]) -> dict[str, str]:
    """The same of a module's namespace; where the module is seen for the first time, its files as they are now."""
    if _FILES not in space and is_own(space.get("__file__")):
        _remember(space, Path(space["__file__"]).resolve())
    files: dict[str, str] = space.get(_FILES, {})
    return files


def _import(name: str, again: bool) -> Any:
    module = importlib.import_module(name)
    if again and name != "__main__" and _files_of(vars(module)) and _changed(module):
        _forget(module)
        module = importlib.import_module(name)
        _files_of(vars(module))
    return module


def _import_file(name: str, base: Path | None, again: bool) -> Any:
    places = [Path(name).expanduser()] + ([base / name] if base else [])
    path = next((place.resolve() for place in places if place.is_file()), None)
    if path is None:
        raise BadInput(f"'{name}': no such file (looked for {' and '.join(str(place) for place in places)})")
    # One module a file: functions of it can be pickled by name and are not made twice.
    module_name = "journeyman_user_" + "_".join(path.with_suffix("").parts[1:])
    if module_name in sys.modules:
        if not again or not _changed(sys.modules[module_name]):
            return sys.modules[module_name]
        _forget(sys.modules[module_name])
    spec = importlib.util.spec_from_file_location(module_name, path, loader=_AsWritten(module_name, str(path)))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    _remember(vars(module), path)
    return module


class _AsWritten(SourceFileLoader):
    """Compiles the file as it is now: Python's own cache takes two texts of one length and second for the same."""

    def get_code(self, fullname: str) -> Any:
        return self.source_to_code(self.get_data(self.path), self.path)


def _remember(space: dict[str, Any], path: Path) -> None:
    """Keep what a module was made from: the hashes, and the text that its source is shown from."""
    files = [path, *code_beside(path)]
    space[_FILES] = {str(file): content_hash(file) for file in files}
    for file in files:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        # Without a time: `inspect` shows the text that was run, also once the file is another.
        linecache.cache[str(file)] = (sum(map(len, lines)), None, lines, str(file))


def _changed(module: Any) -> bool:
    known = vars(module).get(_FILES, {})
    return any(not Path(file).is_file() or content_hash(Path(file)) != value for file, value in known.items())


def _forget(module: Any) -> None:
    """Take a module and the user's modules that it imports out of Python's tables, compiled copies included."""
    files = {Path(file) for file in vars(module)[_FILES]}
    for name, other in list(sys.modules.items()):
        file = getattr(other, "__file__", None)
        if file is not None and name != "__main__" and Path(file) in files:
            del sys.modules[name]
    for file in files:
        linecache.cache.pop(str(file), None)
        with contextlib.suppress(OSError, NotImplementedError):
            Path(importlib.util.cache_from_source(str(file))).unlink(missing_ok=True)
    importlib.invalidate_caches()
