"""What a reward function is made of: the hash that records, cards and replay compare, and the name it is found by.

Invariants: two functions with the same source, calling functions with the same source in their own module and importing the
same files of the user's, have the same hash on every machine; what they import from an installed package is that package's
version, not theirs.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..configs.errors import BadInput
from ..configs.read import load_attribute, read_from

_PLAIN = (str, bytes, int, float, bool, type(None))


def source_hash(*functions: Callable[..., Any] | None) -> str:
    """SHA-256 (16 hex digits) over the functions' source, and over what they use of their own modules, recursively.

    Functions and classes count by their source (by their bytecode where that can't be had), constants by their value, and
    other files of the user's that their module imports by all that they hold.
    """
    texts: dict[str, str] = {}
    for number, function in enumerate(functions):
        if function is not None:
            texts[f"{number}"] = _text(function)
            _gather(function, texts)
            texts |= {Path(file).name: value for file, value in list(read_from(function).items())[1:]}
    return digest(*(f"{name}\0{texts[name]}" for name in sorted(texts)))


def digest(*texts: str) -> str:
    """SHA-256 (16 hex digits) of the texts, in their order."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def _gather(value: Any, texts: dict[str, str]) -> None:
    for name, used in _used(value):
        if name in texts:
            continue
        text = _constant(used)
        if text is None and getattr(used, "__module__", None) == getattr(value, "__module__", None):
            texts[name] = _text(used)
            _gather(getattr(used, "function", used), texts)
        elif text is not None:
            texts[name] = text


def _used(value: Any) -> Iterator[tuple[str, Any]]:
    """(name, value) of the globals and closed-over variables that the code of a function or a class mentions."""
    value = inspect.unwrap(value) if callable(value) else value
    if isinstance(value, type):
        for method in vars(value).values():
            yield from _used(getattr(method, "__func__", method))
        return
    code = getattr(value, "__code__", None)
    if code is None:
        return
    space = getattr(value, "__globals__", {})
    for name in _names(code):
        if name in space:
            yield name, space[name]
    cells = getattr(value, "__closure__", None) or ()
    for name, cell in zip(code.co_freevars, cells, strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not filled yet
            continue


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _constant(value: Any) -> str | None:
    """A text that is equal for equal constants; None for what is no constant."""
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, re.Pattern):
        return repr((value.pattern, value.flags))
    if isinstance(value, tuple | list | set | frozenset):
        parts = [_constant(part) for part in value]
        known = [part for part in parts if part is not None]
        return (
            repr(sorted(known) if isinstance(value, set | frozenset) else known) if len(known) == len(parts) else None
        )
    if isinstance(value, dict):
        return _constant([part for pair in value.items() for part in pair])
    return None


def _text(value: Any) -> str:
    value = getattr(value, "function", value)
    try:
        return textwrap.dedent(inspect.getsource(value))
    except (OSError, TypeError):
        code = getattr(value, "__code__", None)
        return repr((code.co_code, code.co_consts)) if code else type(value).__qualname__


def spec_of(function: Callable[..., Any], what: str) -> str:
    """`module:name` or `path.py:name`, by which another process finds a function.

    Raises:
        BadInput: it is a lambda, is made inside another function, or was typed into an interpreter.
    """
    name = getattr(function, "__qualname__", "<object>")
    if "<" in name:
        raise BadInput(f"{what} runs in a process of its own and '{name}' can't be found from there; define it with def at the "
                       "top level of a module")  # fmt: skip
    module = sys.modules.get(function.__module__)
    file = getattr(module, "__file__", None)
    if function.__module__ != "__main__" and not function.__module__.startswith("journeyman_user_"):
        return f"{function.__module__}:{name}"
    if file is None or not Path(file).is_file():
        raise BadInput(
            f"{what} runs in a process of its own, which can't see what was typed here; put '{name}' into a file"
        )
    return f"{Path(file).resolve()}:{name}"


def code_of(*functions: Callable[..., Any] | None) -> list[str]:
    """Hashes of the user's files that the functions were made from; none where they come from an installed package."""
    return sorted({value for function in functions for value in read_from(function).values()})


def found(spec: str | None, again: bool = True) -> Any:
    """The plain function that `spec_of` named; the one inside, where a decorator has that name.

    Args:
        again: whether its file is read again where it has changed.
    """
    value = load_attribute(spec, again=again) if spec is not None else None
    return getattr(value, "function", value)
