"""The solver's whole life in its confined process: run the model's code, answer questions about it with plain data.

Invariants: this process holds the code, the arguments of the calls so far and of the next, and nothing else worth having; so
nothing in it is defended. Standard library only.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import io
import itertools
import operator
import os
import random
import socket
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

from . import wire

OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": lambda function, *arguments, **names: function(*arguments, **names),
    "get": getattr, "set": setattr, "len": len, "iter": iter, "next": next, "bool": bool, "str": str, "repr": repr,
    "int": int, "float": float, "item": operator.getitem, "set item": operator.setitem,
    "delete item": operator.delitem, "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "@": operator.matmul, "negative": operator.neg,
}  # fmt: skip
"""What a judge may ask to be done with the solver's objects. No comparison is among them: those are the judge's to make."""


def answer(end: socket.socket) -> None:
    """Serve questions: `[nonce, operation, arguments, names]`, until the judge hangs up."""
    kept: dict[int, Any] = {}
    numbers = itertools.count(1)
    scope: dict[str, Any] = {}

    def more(size: int) -> bytes:
        part = wire.soon(end, size)
        return end.recv(max(size, wire.AHEAD)) if part is None else part

    reader = wire.Reader(more)
    held = b""

    def keep(thing: Any) -> int:
        number = next(numbers)
        kept[number] = thing
        return number

    def do(operation: str, arguments: list[Any], names: dict[str, Any]) -> Any:
        values = [wire.unpack(argument, kept.__getitem__) for argument in arguments]
        if operation == "load":
            scope.update(vars(_run(values[0], "solution")))
            return None
        if operation in ("global", "changed"):
            if values[0] not in scope:
                raise NameError(f"the code defines no {values[0]}")
            function = scope[values[0]]
            if len(values) == 1:
                return function
            given = values[1]
            value = function(*given)
            # What an in-place function left in its arguments, beside what it returned.
            return (value, given) if operation == "changed" else value
        return OPERATIONS[operation](*values, **{k: wire.unpack(v, kept.__getitem__) for k, v in names.items()})

    while True:
        try:
            nonce, operation, arguments, names = reader.receive()
        except EOFError:
            return
        try:
            data = wire.frame([nonce, "value", wire.pack(do(operation, arguments, names), keep)])
        except BaseException as error:  # SystemExit too: an early exit is an answer that is wrong
            classes = [kind.__name__ for kind in type(error).__mro__ if kind is not object]
            data = wire.frame([nonce, "raised", classes, _text(error)])
        if operation == "load" and len(arguments) > 1:  # a question came with it: one answer to both spares a turn
            held = data
            continue
        end.sendall(held + data)
        held = b""


def program(source: str) -> int:
    """Run `source` as a program of its own, with this process's standard streams; returns its exit code."""
    try:
        _streams()
        try:
            _run(source, "__main__")
            code: Any = 0
        except SystemExit as exit:
            code = exit.code
            if isinstance(code, str):
                print(code, file=sys.stderr)
        threading._shutdown()  # type: ignore[attr-defined]  # as the interpreter does: wait for threads
        atexit._run_exitfuncs()
        sys.stdout.flush()
    except BaseException:
        sys.excepthook(*sys.exc_info())
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        code = 1
    with contextlib.suppress(Exception):
        sys.stderr.flush()
    return 0 if code is None else code & 0xFF if isinstance(code, int) else 1


def _run(source: str, name: str) -> types.ModuleType:
    vars(builtins).update(exit=sys.exit, quit=sys.exit)  # as `site` has them, which is not loaded here
    random.seed(0)  # the same completion earns the same verdict
    module = types.ModuleType(name)
    sys.modules[name] = module  # dataclasses and pickles look for it
    exec(compile(source, f"<{name}>", "exec", dont_inherit=True), vars(module))
    return module


def _streams() -> None:
    """Python's own names for descriptors 0 to 2, which are other files than when the interpreter started."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        raw = io.FileIO(number, "rb" if number == 0 else "wb", closefd=False)
        binary = io.BufferedReader(raw) if number == 0 else io.BufferedWriter(raw)
        stream = io.TextIOWrapper(binary, encoding="utf-8", errors="surrogateescape", line_buffering=number == 2)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _text(error: BaseException) -> str:
    try:
        return str(error)[:500]
    except BaseException:
        return ""


def leave(code: int) -> None:
    """End this process now, whatever threads it has."""
    os._exit(code)
