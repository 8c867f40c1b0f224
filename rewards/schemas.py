"""A row's JSON Schema as a validator that checks all that the schema says, or a refusal that names what it would leave out.

Invariants: what is accepted depends on the schema alone and not on which packages are installed; no address is fetched; numbers
are compared exactly, and `uniqueItems` takes linear time.

Source: JSON Schema (json-schema.org), as the library jsonschema checks it, with the formats of RFC 3339 and RFC 3986 added.
"""

from __future__ import annotations

import datetime
import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

from ..configs.errors import BadInput, nearest

SLOW = frozenset({"pattern", "patternProperties", "$ref", "$dynamicRef", "$recursiveRef"})
"""Keywords with which a completion can make the check of a schema take long; so can the format `regex`."""
UNCHECKED = frozenset({"contentEncoding", "contentMediaType", "contentSchema"})
"""What the standard calls an annotation: no validator checks it."""
OPENAPI = {"nullable": "type: [..., null]", "discriminator": "oneOf with a const in each"}
"""Keywords of OpenAPI's that JSON Schema does not have, and what it has for them."""
NEEDS = {"then": "if", "else": "if", "minContains": "contains", "maxContains": "contains"}
"""Keywords that say nothing without another one."""
_LIBRARY = ("date", "email", "idn-email", "ipv4", "ipv6", "regex", "uuid")
"""Formats that jsonschema checks without further packages."""
_NOTES = frozenset(
    ["$id", "id", "$schema", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$comment", "$vocabulary", "$defs", "definitions",
     "title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly", "then", "else",
     "minContains", "maxContains", "exclusiveMinimum", "exclusiveMaximum"]
)  # fmt: skip
"""Keywords that say nothing about a value, or are read with another one."""
_MAPS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_PLAIN_VALUES = frozenset(
    {"const", "enum", "default", "examples", "required", "type", "dependentRequired", "dependencies"}
)

_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)", re.ASCII)
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})*")
_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_EMAIL = re.compile(r"[^\s@]{1,64}@[^\s@]{1,255}")


def _is_date(text: str) -> bool:
    try:
        return bool(re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII)) and bool(datetime.date.fromisoformat(text))
    except ValueError:
        return False


def _is_datetime(text: str) -> bool:
    return len(text) > 10 and text[10] in "Tt " and _is_date(text[:10]) and _TIME.fullmatch(text, 11) is not None


def _is_hostname(text: str) -> bool:
    return len(text) <= 253 and all(_LABEL.fullmatch(label) for label in text.split("."))


OWN: dict[str, Callable[[str], bool]] = {
    "date": _is_date,
    "time": lambda text: _TIME.fullmatch(text) is not None,
    "date-time": _is_datetime,
    "uri": lambda text: _URI.fullmatch(text) is not None,
    "hostname": _is_hostname,
    "email": lambda text: _EMAIL.fullmatch(text) is not None,
}
"""Formats that are checked here; the others of `FORMATS` by jsonschema."""
FORMATS = tuple(sorted({*OWN, *_LIBRARY}))


def validator(schema: Any) -> tuple[Any, bool]:
    """The validator of a schema, and whether it has a keyword that can take long.

    Raises:
        BadInput: it holds something that would not be checked.
        ValueError: it is not a valid schema.
    """
    from jsonschema import FormatChecker
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, extend, validator_for
    from jsonschema_specifications import REGISTRY

    draft = schema.get("$schema") if isinstance(schema, dict) else None
    cls: Any = validator_for(schema, default=Draft202012Validator if draft is None else None)
    if cls is None:
        raise BadInput(
            f"the row's schema says $schema: {draft!r}, a draft that is not known here; leave it out for 2020-12"
        )
    try:
        cls.check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"the row's schema is not valid at {error.json_path}: {error.message}") from None
    slow, parts = False, list(_parts(schema, "$"))
    for path, part, _ in parts:
        _refuse(part, path, {*cls.VALIDATORS, *_NOTES, *UNCHECKED, "format"})
        slow |= bool(SLOW & part.keys()) or part.get("format") == "regex"
    _check_references(schema, parts, REGISTRY, cls)
    checker = FormatChecker(formats=())
    checker.checkers = {name: FormatChecker.checkers[name] for name in _LIBRARY}
    checker.checkers |= {name: (_of_text(check), ()) for name, check in OWN.items()}
    made = extend(cls, {"multipleOf": _multiple_of, "uniqueItems": _unique_items, "pattern": _pattern})
    # A registry of our own: without one, a $ref to an address would be fetched.
    return made(schema, registry=REGISTRY, format_checker=checker), slow


def _of_text(check: Callable[[str], bool]) -> Callable[[Any], bool]:
    return lambda value: not isinstance(value, str) or check(value)


_Part = tuple[str, dict[str, Any], tuple[dict[str, Any], ...]]


def _parts(schema: Any, path: str, named: tuple[dict[str, Any], ...] = ()) -> Iterator[_Part]:
    """Every subschema, where it is, and the subschemas with an id around it, from the outside in, from which references begin.

    What is a plain value (`const`, `enum` ...) is not gone into.
    """
    if isinstance(schema, list):
        for number, part in enumerate(schema):
            yield from _parts(part, f"{path}[{number}]", named)
    if isinstance(schema, dict):
        if path != "$" and ("$id" in schema or "id" in schema):
            named = (*named, schema)
        yield path, schema, named
        for keyword, value in schema.items():
            if keyword in _MAPS and isinstance(value, dict):
                for name, part in value.items():
                    yield from _parts(part, f"{path}.{keyword}.{name}", named)
            elif keyword not in _PLAIN_VALUES:
                yield from _parts(value, f"{path}.{keyword}", named)


def _refuse(schema: dict[str, Any], path: str, known: set[str]) -> None:
    """Raise BadInput where a subschema holds what would not be checked."""
    for keyword in schema:
        if keyword in UNCHECKED:
            raise BadInput(f"the row's schema has {keyword} at {path}, which no validator checks; take it out")
        if keyword in OPENAPI:
            raise BadInput(f"the row's schema has OpenAPI's {keyword} at {path}; JSON Schema says {OPENAPI[keyword]}")
        if NEEDS.get(keyword, keyword) not in schema:
            raise BadInput(f"the row's schema has {keyword} without {NEEDS[keyword]} at {path}, where it says nothing")
        # Other unknown keywords are somebody's own, which the standard allows.
        if keyword not in known and difflib.get_close_matches(keyword, known, n=1, cutoff=0.75):
            raise BadInput(f"the row's schema has an unknown keyword '{keyword}' at {path}{nearest(keyword, known)}")
    form = schema.get("format")
    if form is not None and form not in FORMATS:
        raise BadInput(
            f"the row's schema has format: {form} at {path}, which is not checked here{nearest(str(form), FORMATS)} (checked: "
            f"{', '.join(FORMATS)}); take it out, or write it as a pattern"
        )


def _check_references(schema: Any, parts: Sequence[_Part], registry: Any, draft: Any) -> None:
    """Raise ValueError where a reference leads nowhere; no address is fetched."""
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import specification_with

    if not isinstance(schema, dict):
        return
    specification = specification_with(draft.META_SCHEMA["$schema"])
    root = registry.resolver_with_root(specification.create_resource(schema))
    for path, part, named in parts:
        for keyword in ("$ref", "$dynamicRef"):
            if not isinstance(part.get(keyword), str) or keyword not in draft.VALIDATORS:
                continue
            resolver = root
            for around in named:
                resolver = resolver.in_subresource(specification.create_resource(around))
            try:
                resolver.lookup(part[keyword])
            except Unresolvable:
                raise ValueError(
                    f"the row's schema has the {keyword} {part[keyword]!r} at {path}, which leads nowhere (addresses are not "
                    "fetched); put what it means under $defs"
                ) from None


def ecma(pattern: str) -> str:
    r"""A pattern of JSON Schema's, which are ECMAScript's, for Python: `$` is the very end, `\d` and `\w` are ASCII."""
    out, within, i = [], False, 0
    plain = {"d": "0-9", "w": "A-Za-z0-9_"}
    while i < len(pattern):
        sign = pattern[i]
        if sign == "\\" and i + 1 < len(pattern):
            follows = pattern[i + 1]
            if follows in plain:
                out.append(plain[follows] if within else f"[{plain[follows]}]")
            elif follows in "DW" and not within:
                out.append(f"[^{plain[follows.lower()]}]")
            else:
                out.append(sign + follows)
            i += 2
            continue
        within = within != (sign == ("]" if within else "["))
        out.append(r"\Z" if sign == "$" and not within else sign)
        i += 1
    return "".join(out)


def _pattern(_: Any, pattern: str, value: Any, schema: Any) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if isinstance(value, str) and not re.search(ecma(pattern), value):
        yield ValidationError("does not match")


def _multiple_of(_: Any, step: Any, value: Any, schema: Any) -> Iterator[Any]:
    """`multipleOf` on the decimal texts: 19.99 is a multiple of 0.01, though their floats are not."""
    from jsonschema.exceptions import ValidationError

    if isinstance(value, int | float) and not isinstance(value, bool):
        exact = Fraction(value) if isinstance(value, int) else Fraction(repr(value))
        if (exact / (Fraction(step) if isinstance(step, int) else Fraction(repr(step)))).denominator != 1:
            yield ValidationError("not a multiple")


def _unique_items(_: Any, wanted: Any, value: Any, schema: Any) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if wanted and isinstance(value, list) and len(set(map(_key, value))) < len(value):
        yield ValidationError("not unique")


def _key(value: Any) -> Any:
    """The same for equal JSON values and for no others: 1 is 1.0 and is not true."""
    if isinstance(value, dict):
        return "object", frozenset((name, _key(child)) for name, child in value.items())
    if isinstance(value, list):
        return "array", tuple(map(_key, value))
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__, value
