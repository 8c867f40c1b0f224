"""A judge of its own for tests that are code: it holds the tests and asks the solver, in a process apart from both sides.

Always true here: the model's code never runs in this process, which is confined as a solver is, so that a test that hangs
or swells on what the solver sent can be killed too; `candidate` is a stub whose every answer is plain data or another
stub; a stub equals nothing but itself, whatever the solver's object would say. Standard library only.
"""

from __future__ import annotations

import functools
import socket
import types
from collections.abc import Callable, Iterator
from typing import Any

from . import wire
from .session import Ended, Raised, Session
from .solver import OPERATIONS

_SEEN = (
    ArithmeticError, AttributeError, BufferError, EOFError, FileNotFoundError, IndexError, KeyError, LookupError,
    MemoryError, NotImplementedError, OSError, OverflowError, PermissionError, RecursionError, RuntimeError, TypeError,
    ValueError, ZeroDivisionError,
)  # fmt: skip
"""Exceptions that a test sees under their own class. StopIteration is not one: it would end a test's own loop early."""
_BY_NAME = {kind.__name__: kind for kind in _SEEN}
_BINARY = ("+", "-", "*", "/", "//", "%", "**", "@", "&", "|", "^")
_DUNDERS = {
    "__call__": "call", "__len__": "len", "__bool__": "bool", "__str__": "str", "__repr__": "repr", "__int__": "int",
    "__float__": "float", "__abs__": "abs", "__neg__": "negative", "__getitem__": "item", "__setitem__": "set item",
    "__delitem__": "delete item", "__contains__": "in", "__lt__": "<", "__le__": "<=", "__gt__": ">", "__ge__": ">=",
    **dict(zip(
        ("__add__", "__sub__", "__mul__", "__truediv__", "__floordiv__", "__mod__", "__pow__", "__matmul__", "__and__",
         "__or__", "__xor__"), _BINARY, strict=True)),
}  # fmt: skip
_TYPED: dict[str, type] = {"len": int, "bool": bool, "str": str, "repr": str, "int": int, "float": float, "in": bool}


class Unsupported(BaseException):
    """The test asks for something that can't be sent to another process."""


class Stub:
    """Stands in the test for an object of the solver's."""

    __slots__ = ("_ask", "_number")

    def __init__(self, ask: Callable[..., Any], number: int) -> None:
        object.__setattr__(self, "_ask", ask)
        object.__setattr__(self, "_number", number)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return self._ask("get", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._ask("set", self, name, value)

    def __iter__(self) -> Iterator[Any]:
        iterator = self._ask("iter", self)
        while True:
            try:
                item = self._ask("next", iterator)
            except Raised as error:
                if error.names[0] == "StopIteration":
                    return
                raise
            yield item

    def __next__(self) -> Any:
        try:
            return self._ask("next", self)
        except Raised as error:
            if error.names[0] == "StopIteration":
                raise StopIteration from None
            raise


def _forward(operation: str) -> Callable[..., Any]:
    kind = _TYPED.get(operation)

    def method(self: Stub, *arguments: Any, **names: Any) -> Any:
        value = self._ask(operation, self, *arguments, **names)
        if kind and type(value) is not kind:
            raise TypeError(f"{operation} of the solver's object gave a {type(value).__name__}")
        return value

    return method


for _dunder, _operation in _DUNDERS.items():
    assert _operation in OPERATIONS
    setattr(Stub, _dunder, _forward(_operation))


class Interview:
    """Asks the solver on behalf of test code, in Python's own terms."""

    def __init__(self, session: Session) -> None:
        self._session = session
        session._handle = functools.partial(Stub, self.ask)

    def ask(self, operation: str, *arguments: Any, **names: Any) -> Any:
        """What the solver answers, or an exception as its code would have raised it."""
        try:
            return self._session.ask(operation, *arguments, names=names, keep=_number)
        except wire.WireError as error:
            raise Unsupported(f"the test passes what can't be sent: {error}") from None
        except Raised as error:
            known = next((_BY_NAME[name] for name in error.names if name in _BY_NAME), None)
            if known is None or operation == "next":
                raise
            raise known(error.text) from None


def _number(value: Any) -> int:
    if type(value) is Stub:
        return int(object.__getattribute__(value, "_number"))
    raise wire.WireError(f"a {type(value).__name__} is not data")


def run(test: str, starter: str, entry_point: str, session: Session) -> dict[str, Any]:
    """Run the text of a test against the solver: {"passed": bool, "why": str}, or {"unsupported": str}.

    Args:
        test: code that defines `check(candidate)`, or that asserts about `entry_point` by name.
        starter: trusted code that the test may lean on, such as the helpers in a HumanEval prompt.
        entry_point: the name that the solver's code defines.
    """
    try:
        scope = vars(types.ModuleType("test"))
        for name, text in (("starter", starter), ("test", test)):
            try:
                code = compile(text, f"<{name}>", "exec", dont_inherit=True)
            except (SyntaxError, ValueError) as error:
                return {"unsupported": f"the row's {name} is not Python: {error}"}
            if name == "test":
                try:
                    candidate = Interview(session).ask("global", entry_point)
                except Exception as error:
                    return {"passed": False, "why": f"no {entry_point}: {error}"}
                scope[entry_point] = candidate
            exec(code, scope)
        if isinstance(check := scope.get("check"), types.FunctionType):
            check(candidate)
        if session.ended:
            raise session.ended
        if session.answered <= 1:
            return {"unsupported": "the test asked nothing of the candidate, so any code would pass it"}
        return {"passed": True, "why": ""}
    except Unsupported as error:
        return {"unsupported": str(error)}
    except Ended as error:
        return {"passed": False, "why": error.reason}
    except BaseException as error:
        return {"passed": False, "why": _text(error)}


def _text(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:300]
    except Exception:
        return type(error).__name__


def serve(owner: socket.socket, solver: socket.socket) -> None:
    """The judge's whole life: one test."""
    test, starter, entry_point, seconds = wire.receive(owner)
    wire.send(owner, run(test, starter, entry_point, Session(solver, seconds)))
