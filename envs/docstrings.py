"""The opening prose of documentation, out of source files: no package is imported, no code is run.

Always true here: only public functions, classes and methods; tests and vendored copies are left out; sections, lists,
signatures and examples are not prose; the names of `_NAMES` and addresses are masked wherever they stand.

    for path, source in source_files("networkx"):
        for about, docstring in docstrings(source):
            texts = [clean(paragraph) for paragraph in paragraphs(docstring)]
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from ..configs.errors import BadInput

SOURCE_LIMIT = 8_000_000
"""Characters of source read from one package, its best documented files first: what keeps the first use short."""

PARAGRAPHS = 3
"""At most so many paragraphs of one docstring."""

_SKIPPED = re.compile(
    r"(^|/)(tests?|testing|_?vendor(ed)?|externals?|array_api_(compat|extra)|site-packages|dist-packages|idlelib|lib2to3"
    r"|ensurepip|turtledemo|conftest\.py|test_[^/]*|[^/]*_tests?\.py)(/|$)"
)


def source_files(package: str) -> list[tuple[str, str]]:
    """(path in the package, source) of its files, the best documented first, up to SOURCE_LIMIT characters in all."""
    if not package:
        root = Path(sysconfig.get_path("stdlib"))
    else:
        spec = importlib.util.find_spec(package)  # a top-level name: looks for it, imports nothing
        if spec is None or not spec.submodule_search_locations:
            raise BadInput(f"the source files of '{package}' can't be found; reinstall it")
        root = Path(next(iter(spec.submodule_search_locations)))
    found = []
    for path in root.rglob("*.py"):
        name = path.relative_to(root).as_posix()
        if not _SKIPPED.search(name):
            source = path.read_text(encoding="utf-8", errors="replace")
            if documented := source.count('"""'):
                found.append((-documented / (len(source) + 2000), name, source))
    files, size = [], 0
    for _, name, source in sorted(found):
        size += len(source)
        if size > SOURCE_LIMIT:
            break
        files.append((name, source))
    return files


_BLOCK = re.compile(r"^(?=(?:class \w+[(:\[]|(?:async )?def \w+[(\[]))", re.MULTILINE)
_METHOD = re.compile(r"^(?=    (?:class \w+[(:\[]|(?:async )?def \w+[(\[]))", re.MULTILINE)
_NAME = re.compile(r"\s*(?:async )?(?:class|def) (\w+)")


def docstrings(source: str) -> Iterator[tuple[str, str]]:
    """(name of the outermost function or class, docstring) of the public functions, classes and methods in a file."""
    for block in _BLOCK.split(source)[1:]:
        about = _NAME.match(block)[1]  # type: ignore[index]  # the split is at a name
        for piece in _METHOD.split(block) if block.startswith("class") else [block]:
            name = _NAME.match(piece)
            public = name is not None and not about.startswith("_") and not name[1].startswith("_")
            if public and (docstring := docstring_of(piece)):
                yield about, docstring


def docstring_of(definition: str) -> str | None:
    """The docstring of one function or class; what follows isn't parsed: all the code would take far longer."""
    start = definition.find('"""')
    end = definition.find('"""', start + 3)
    if start < 0 or end < 0:
        return None
    head = definition[: end + 3]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of invalid escapes in other people's strings
            node = ast.parse(f"if 1:\n{head}" if head[0] == " " else head).body[0]
    except (SyntaxError, ValueError):
        return None  # those triple quotes were not its docstring
    node = node.body[0] if isinstance(node, ast.If) else node
    documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return ast.get_docstring(node) if isinstance(node, documented) else None


_SECTION = re.compile(
    r"\s*([-=~^]{3,}|>>>|\.\. |:\w+[^:]*:(\s|$)|@|```|\||<|[-*+#] |\d+[.)] |[A-Z]\w+( \w+)?:$"
    r"|(Args|Arguments|Returns?|Raises|Yields|Parameters?|Examples?|Usage|Notes?|Attributes|See also|Deprecated)\b:)",
    re.IGNORECASE,
)
_SIGNATURE = re.compile(r"[\w.]+\(.*\)\s*(->.*)?$")


def paragraphs(docstring: str) -> Iterator[str]:
    """The opening prose of a docstring, at most PARAGRAPHS of them: up to the first section, list, table or example."""
    given = 0
    for block in re.split(r"\n\s*\n", docstring.strip()):
        lines = block.splitlines()
        end = next((i for i, line in enumerate(lines) if _SECTION.match(line)), len(lines))
        if end < len(lines) and re.match(r"\s*[-=~^]{3,}", lines[end]):
            end -= 1  # the heading above its underline
        prose = lines[: max(end, 0)]
        if prose and not _SIGNATURE.match(" ".join(prose)):
            yield " ".join(prose)
            given += 1
        if end < len(lines) or given == PARAGRAPHS or block.rstrip().endswith("::"):
            return


_NAMES = (
    r"https?://\S+|\bhugging[ _-]?face\w*|huggingface\w*|(py)?torch(vision|audio)?|tensor ?flow|scikits?([ _.-]?learn)?"
    r"|sk[ _-]?learn|numpy|scipy|sympy|pandas|network[ _]?x|pygments|pyarrow|transformers|peft|stdlib"
    r"|(?<![a-z0-9])(np|rich|pd|nx|sp|sk|pt|tf|hf|trl|hub|datasets|standard library|cpython|jax|flax)"
    r"(?![a-z0-9])"
)
_MASKED = re.compile(rf"(\b(from|import) )?(?:{_NAMES})", re.IGNORECASE)


def clean(text: str) -> str:
    """`text` without markup, and with `_` where a package, an alias of one, or an address was named."""
    text = re.sub(r":[\w:]+:(?=`)", "", text)  # the role in :class:`name`
    text = re.sub(r"\]\([^)\s]*\)", "", text)  # the address in [text](address)
    text = re.sub(r"[`~\[\]*\\]|<[^<>]*>", "", text)
    return " ".join(_MASKED.sub("_", text).split())
