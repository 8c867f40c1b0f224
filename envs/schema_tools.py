"""A tool from its JSON schema: what a server describes becomes a method that a chat template and TRL can read.

Always true here: arguments keep their names, types, defaults and descriptions; a field that can have one value only is
filled in and not asked for; one that the model leaves out is not sent, so the server's own default holds.
"""

from __future__ import annotations

import functools
import inspect
import keyword
import operator
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

from ..configs.errors import BadInput

PLAIN: dict[str, Any] = {"string": str, "integer": int, "number": float, "boolean": bool, "null": type(None)}

Call = Callable[[Any, dict[str, Any]], Awaitable[Any]]
"""What stands behind a tool: it receives the environment and the arguments that are sent."""


def tool(name: str, description: str, schema: Mapping[str, Any], call: Call, left_out: tuple[str, ...] = ()) -> Any:
    """An async method `name` with the properties of `schema` as its arguments and a Google-style docstring.

    Args:
        description: what the tool does, for the model.
        schema: of an object, as pydantic writes it (`$defs` included).
        left_out: properties that the model isn't asked for.

    Raises:
        BadInput: a required property whose name can't be an argument's.
    """
    defs = schema.get("$defs", {})
    required = set(schema.get("required", ()))
    fixed: dict[str, Any] = {}
    names: dict[str, str] = {}
    parameters, lines = [], []
    for key, given in schema.get("properties", {}).items():
        field = resolved(given, defs)
        only = field["const"] if "const" in field else (field.get("enum") or [None])[0]
        if "const" in field or len(field.get("enum") or ()) == 1:
            fixed[key] = only
        elif key in left_out:
            continue
        elif not key.isidentifier() or key == "self":
            if key in required:
                raise BadInput(f"{name}: the field '{key}' has no name that an argument can have")
        else:
            argument = key + "_" * keyword.iskeyword(key)
            names[argument] = key
            parameters.append(_parameter(argument, field, defs, key in required))
            lines.append(f"    {argument}: {_described(field, key)}")
    parameters.sort(key=lambda p: p.default is not p.empty)

    async def method(self: Any, *args: Any, **kwargs: Any) -> str:
        given = signature.bind(self, *args, **kwargs).arguments
        return str(await call(self, {**fixed, **{key: given[name] for name, key in names.items() if name in given}}))

    signature = inspect.Signature(
        [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD), *parameters], return_annotation=str
    )
    method.__name__ = method.__qualname__ = name
    method.__signature__ = signature  # type: ignore[attr-defined]
    method.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": str}
    about = " ".join(description.split()) or f"Call {name}."
    method.__doc__ = "\n".join([about, "", *(["Args:", *lines] if lines else [])]).strip() + "\n"
    return method


def resolved(field: Mapping[str, Any], defs: Mapping[str, Any]) -> dict[str, Any]:
    """`field` with a reference into `defs` replaced by what it names; its own keys come first."""
    known: dict[str, Any] = dict(field)
    while "$ref" in known:
        target = defs.get(known.pop("$ref").rpartition("/")[2], {})
        known = {**target, **known}
    return known


def type_of(field: Mapping[str, Any], defs: Mapping[str, Any]) -> Any:
    """The Python type that a chat template writes as `field`'s; Any for what has no simple one."""
    field = resolved(field, defs)
    kind, choices = field.get("type"), field.get("enum")
    if choices and all(isinstance(choice, str | int | float | bool) for choice in choices):
        return Literal[tuple(choices)]
    options = (
        field.get("anyOf")
        or field.get("oneOf")
        or [{**field, "type": k} for k in _listed(kind) if len(_listed(kind)) > 1]
    )
    if options:
        return functools.reduce(operator.or_, (type_of(option, defs) for option in options))
    if kind == "array":
        return list[type_of(field["items"], defs)] if field.get("items") else list  # type: ignore[misc]
    return dict if kind == "object" else PLAIN.get(str(kind), Any)


def _listed(kind: Any) -> list[Any]:
    return list(kind) if isinstance(kind, list) else [kind]


def _parameter(name: str, field: Mapping[str, Any], defs: Mapping[str, Any], required: bool) -> inspect.Parameter:
    default = inspect.Parameter.empty if required else field.get("default")
    kind = type_of(field, defs)
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=kind)


def _described(field: Mapping[str, Any], key: str) -> str:
    text = " ".join(str(field.get("description") or field.get("title") or key).split())
    limits = [
        f"{word} {field[name]}" for name, word in (("minimum", "at least"), ("maximum", "at most")) if name in field
    ]
    return f"{text} ({', '.join(limits)})" if limits else text
