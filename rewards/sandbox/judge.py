"""A judge of its own for tests that are code: it holds the tests and asks the solver, in a process apart from both sides.

Invariants: the model's code never runs in this process, which is confined as a solver is, so that a test that hangs
or swells on what the solver sent can be killed too; `candidate` is a stub whose every answer is plain data or another
stub; a stub equals nothing but itself, whatever the solver's object would say. Standard library only.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import types
from collections.abc import Callable, Iterator
from typing import Any

from . import wire
from .session import Raised, Session

_SEEN = (
    ArithmeticError, AttributeError, BufferError, EOFError, FileNotFoundError, IndexError, KeyError, LookupError,
    MemoryError, NotImplementedError, OSError, OverflowError, PermissionError, RecursionError, RuntimeError, TypeError,
    ValueError, ZeroDivisionError,
)  # fmt: skip
"""Exceptions that a test sees under their own class. StopIteration is not one: it would end a test's own loop early."""
_BY_NAME = {kind.__name__: kind for kind in _SEEN}
_CONVERSIONS: dict[str, tuple[str, type]] = {
    "__len__": ("len", int), "__bool__": ("bool", bool), "__str__": ("str", str), "__repr__": ("repr", str),
    "__int__": ("int", int), "__float__": ("float", float),
}  # fmt: skip
_OPERATORS = {
    "__add__": "+",
    "__sub__": "-",
    "__mul__": "*",
    "__truediv__": "/",
    "__matmul__": "@",
    "__neg__": "negative",
}


class Unsendable(BaseException):
    """The test passes something that can't go to another process."""


class Stub:
    """Stands in the test for what a function gave that is not data: a generator, a function, an object.

    It can be called, indexed, iterated and converted, which gives data that the test compares. It has no attributes: a
    method called `startswith` that says yes to everything would pass for a text.
    """

    __slots__ = ("_ask", "_number")
    _ask: Callable[..., Any]
    _number: int

    def __init__(self, ask: Callable[..., Any], number: int) -> None:
        object.__setattr__(self, "_ask", ask)
        object.__setattr__(self, "_number", number)

    def __call__(self, *arguments: Any, **names: Any) -> Any:
        """Call the function that this stands for, or the instance."""
        return self._ask("call", self, *arguments, **names)

    def __getitem__(self, key: Any) -> Any:
        return self._ask("item", self, key)

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


class ObjectStub(Stub):
    """Stands for an object whose class is under test: its attributes and operators are the solver's.

    An operator must give another object: a number that comes out of one would pass for the result of arithmetic.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return self._ask("get", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._ask("set", self, name, value)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._ask("set item", self, key, value)

    def __delitem__(self, key: Any) -> None:
        self._ask("delete item", self, key)


def _method(operation: str, kind: type) -> Callable[..., Any]:
    def method(self: Stub, *arguments: Any) -> Any:
        value = self._ask(operation, self, *arguments)
        if type(value) is not kind:
            raise TypeError(f"{operation} of the solver's object gave a {type(value).__name__}")
        return value

    return method


for _name, (_operation, _kind) in _CONVERSIONS.items():
    setattr(Stub, _name, _method(_operation, _kind))
for _name, _operation in _OPERATORS.items():
    setattr(ObjectStub, _name, _method(_operation, ObjectStub))


class Interview:
    """Asks the solver on behalf of test code, in Python's own terms."""

    def __init__(self, session: Session, objects: bool) -> None:
        self._session = session
        session.handle = functools.partial(ObjectStub if objects else Stub, self.ask)

    def ask(self, operation: str, *arguments: Any, **names: Any) -> Any:
        """What the solver answers, or an exception as its code would have raised it."""
        try:
            return self._session.ask(operation, *arguments, names=names, keep=_number)
        except wire.WireError as error:
            raise Unsendable(f"the test passes what can't be sent: {error}") from None
        except Raised as error:
            known = next((_BY_NAME[name] for name in error.names if name in _BY_NAME), None)
            if known is None or operation == "next":
                raise
            raise known(error.text) from None


def _number(value: Any) -> int:
    if isinstance(value, Stub):
        return int(object.__getattribute__(value, "_number"))
    raise wire.WireError(f"a {type(value).__name__} is not data")


def run(test: str, starter: str, entry_point: str, objects: bool, session: Session) -> dict[str, Any]:
    """Run the text of a test against the solver: {"passed": bool, "why": str}, or {"bad test": str}.

    A fault is the test's own only where the test has it without the solver too: what it does with a candidate that no
    completion had a hand in decides.

    Args:
        test: code that defines `check(candidate)`, or that asserts about `entry_point` by name.
        starter: trusted code that the test may lean on, such as the helpers in a HumanEval prompt.
        entry_point: the name that the solver's code defines.
        objects: whether what that gives may have attributes and operators of the solver's.
        session: how to reach the solver.
    """
    try:
        scope = _scope(starter)
        code = compile(test, "<test>", "exec", dont_inherit=True)
    except BaseException as error:
        return {"bad test": f"fails before it meets the solution: {_text(error)}"}
    try:
        candidate = Interview(session, objects).ask("global", entry_point)
    except BaseException as error:
        return {"passed": False, "why": f"no {entry_point}: {_text(error)}"}
    why = _tried(code, scope, entry_point, candidate)
    if session.ended:
        return {"passed": False, "why": str(session.ended)}
    if session.answered <= 1:
        probe = _Probe()
        fault = _tried(code, _scope(starter), entry_point, (ObjectStub if objects else Stub)(probe.ask, 0))
        if not probe.asked:
            return {"bad test": fault or "asks nothing of the solution, so any code would pass"}
        return {"passed": False, "why": why or f"{entry_point} is nothing that can be asked"}
    return {"passed": not why, "why": why}


class _Asked(BaseException):
    """The test has got as far as asking the candidate something."""


class _Probe:
    """Answers for a candidate that is nobody's: what counts is whether the test asks it anything that can be sent."""

    asked = False

    def ask(self, operation: str, *arguments: Any, **names: Any) -> Any:
        """Note it, and end the test."""
        try:
            for argument in (*arguments, *names.values()):
                wire.pack(argument, _number)
        except wire.WireError as error:
            raise Unsendable(f"the test passes what can't be sent: {error}") from None
        self.asked = True
        raise _Asked


def _scope(starter: str) -> dict[str, Any]:
    scope = vars(types.ModuleType("test"))
    with contextlib.suppress(SyntaxError):  # the bare signature of a function that the completion goes on with
        exec(compile(starter, "<starter>", "exec", dont_inherit=True), scope)
    return scope


def _tried(code: types.CodeType, scope: dict[str, Any], entry_point: str, candidate: Any) -> str:
    """Why the test does not pass with `candidate`; empty where it does."""
    scope[entry_point] = candidate
    try:
        exec(code, scope)
        if isinstance(check := scope.get("check"), types.FunctionType):
            check(candidate)
    except BaseException as error:
        return _text(error)
    return ""


def _text(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:300]
    except Exception:
        return type(error).__name__


def serve(owner: socket.socket, solver: socket.socket) -> None:
    """The judge's whole life: one test."""
    test, starter, entry_point, objects, seconds = wire.receive(owner)
    wire.send(owner, run(test, starter, entry_point, objects, Session(solver, seconds)))
