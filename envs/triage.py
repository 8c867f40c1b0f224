"""Triage: a paragraph of real documentation goes to the package it was written for.

Always true here: the text is the documentation of the standard library and of the packages that this one depends on,
read from their source files (nothing is imported); none of these packages is named in it; no two prompts are alike; and
everything said about one function or class, its methods included, lies in one split. The rows follow from the
installed versions alone: `version` is a hash over versions and rows.

    Triage().tasks("train", seed=0, n=1)
    # [{'prompt': [{'role': 'user', 'content': 'Return the shortest path between source and target in the graph.'}],
    #   'answer': 'networkx', ...}]

The first use reads the source files (about 10 s); later ones read a cache in `$JOURNEYMAN_CACHE` or
`~/.cache/journeyman`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import itertools
import json
import math
import os
import platform
import re
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..configs.errors import BadInput
from .baselines import tfidf_logistic
from .core import Row, Rows, digest, prompt_text
from .docstrings import clean, docstrings, paragraphs, source_files

PACKAGES: dict[str, str] = {
    "datasets": "datasets",
    "hub": "huggingface_hub",
    "networkx": "networkx",
    "numpy": "numpy",
    "pandas": "pandas",
    "peft": "peft",
    "pygments": "pygments",
    "rich": "rich",
    "scipy": "scipy",
    "sklearn": "sklearn",
    "stdlib": "",
    "sympy": "sympy",
    "torch": "torch",
    "transformers": "transformers",
}
"""label -> the top-level package it stands for; all are there wherever this package is installed."""

DISTRIBUTIONS = {"sklearn": "scikit-learn", "hub": "huggingface_hub"}
"""label -> the distribution whose version counts, where it isn't the package's own name."""

SHARES = {"demonstrations": 0.1, "train": 0.68, "validation": 0.04, "heldout": 0.18}

PLENTY = 1.8
"""Times `per_label`: how many paragraphs are read before near-duplicates go; further files aren't parsed."""

SHORTEST = 5
"""Words that a paragraph has at least."""

ALIKE = 0.5
"""Two texts are near-duplicates from this share of common three-word runs on (Jaccard index)."""


class Passage(NamedTuple):
    """One paragraph: the text as shown, the label it belongs to, and the function or class it is about."""

    text: str
    label: str
    about: str


class Triage(Rows):
    """Name the package that a paragraph of documentation belongs to; the answer is one of `labels`."""

    extraction = "first_line"

    def __init__(
        self,
        max_words: int = 16,
        max_chars: int = 72,
        per_label: int = 2500,
        shares: Mapping[str, float] | None = None,
        system_prompt: str | None = None,
    ) -> None:
        """Read or build the rows.

        Args:
            max_words: a paragraph is cut to so many words.
            max_chars: and to the words that fit into so many characters, so that no row is much longer than the rest.
            per_label: at most so many rows for one label, so that none dominates.
            shares: the share of each split.
            system_prompt: put before every prompt where given.

        Raises:
            BadInput: a number out of range, or a package that isn't installed.
        """
        for name, value, least in (
            ("max_words", max_words, SHORTEST),
            ("max_chars", max_chars, 8 * SHORTEST),
            ("per_label", per_label, 1),
        ):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise BadInput(f"triage: {name} is {value!r}; it should be a whole number, at least {least}")
        super().__init__(SHARES if shares is None else shares, system_prompt)
        self.labels = sorted(PACKAGES)
        self.passages, self.manifest = load(max_words, max_chars, per_label)
        self.version = self.manifest

    def rows(self) -> Sequence[Row]:
        """Every paragraph as a row; `about` names what it documents."""
        return [{"prompt": p.text, "answer": p.label, "about": p.about} for p in self.passages]

    def family(self, row: Row) -> str:
        """The function or class that the row is about."""
        return str(row["about"])

    def baseline(self, rows: Sequence[Row], demonstrations: Sequence[Row]) -> list[str] | None:
        """TF-IDF and logistic regression, fitted on `demonstrations`."""
        if not demonstrations:
            return None
        texts, labels = [prompt_text(row) for row in demonstrations], [row["answer"] for row in demonstrations]
        return tfidf_logistic(texts, labels, [prompt_text(row) for row in rows])


@functools.lru_cache(maxsize=4)
def load(max_words: int, max_chars: int, per_label: int) -> tuple[tuple[Passage, ...], str]:
    """All passages and their manifest hash: from the cache where it is whole, else from the source files.

    Raises:
        BadInput: one of PACKAGES isn't installed.
    """
    versions = {label: version_of(label) for label in sorted(PACKAGES)}
    code = [Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("triage.py", "docstrings.py")]
    key = digest(json.dumps([versions, code, max_words, max_chars, per_label], sort_keys=True))
    folder = Path(os.environ.get("JOURNEYMAN_CACHE") or Path.home() / ".cache" / "journeyman")
    path = folder / f"triage-{key}.jsonl"
    try:
        stored, *lines = path.read_text(encoding="utf-8").splitlines()
        passages = tuple(Passage(*json.loads(line)) for line in lines)
        if json.loads(stored)["manifest"] == manifest_of(passages, versions):
            return passages, manifest_of(passages, versions)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there yet, or not whole: it is written anew
    passages = tuple(
        select(
            itertools.chain.from_iterable(read_package(label, max_words, max_chars, per_label) for label in versions),
            per_label,
        )
    )
    manifest = manifest_of(passages, versions)
    text = "\n".join([json.dumps({"manifest": manifest, "versions": versions}), *map(json.dumps, passages)])
    # A name of its own for each writer: two builds at once each put the same whole file in place.
    temporary = folder / f"{path.name}.{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text + "\n", encoding="utf-8")
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):  # a cache that can't be written costs time, not the run
            temporary.unlink()
    return passages, manifest


def manifest_of(passages: Sequence[Passage], versions: Mapping[str, str]) -> str:
    """SHA-256 over each package with its version and number of rows, and over every row."""
    counts = Counter(passage.label for passage in passages)
    rows = sorted(digest(json.dumps(passage)) for passage in passages)
    packages = [[label, version, counts[label]] for label, version in sorted(versions.items())]
    return hashlib.sha256(json.dumps([packages, rows]).encode()).hexdigest()


def version_of(label: str) -> str:
    """The installed version behind `label`.

    Raises:
        BadInput: it isn't installed.
    """
    if label == "stdlib":
        return platform.python_version()
    name = DISTRIBUTIONS.get(label, PACKAGES[label])
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        raise BadInput(
            f"triage reads the documentation of '{name}', which is not installed: pip install {name}"
        ) from None


def read_package(label: str, max_words: int, max_chars: int, per_label: int) -> Iterator[Passage]:
    """A package's paragraphs, cleaned and cut: file after file until there are plenty to choose from."""
    found = 0
    for _, source in source_files(PACKAGES[label]):
        if found > PLENTY * per_label:
            return
        for about, docstring in docstrings(source):
            for paragraph in paragraphs(docstring):
                words = clean(paragraph).split()[:max_words]
                while words and len(" ".join(words)) > max_chars:
                    words.pop()
                if sum(any(c.isalpha() for c in word) for word in words) >= SHORTEST:
                    # Without the module: what bears one name in several files of a package shares a split too.
                    found += 1
                    yield Passage(" ".join(words), label, f"{label}.{about}")


def select(passages: Iterable[Passage], per_label: int) -> list[Passage]:
    """At most `per_label` passages of each label, no two of them alike, in the order of their hashes."""
    same: dict[str, list[Passage]] = defaultdict(list)
    for passage in passages:
        same[" ".join(_words(passage.text))].append(passage)
    # A text that several packages use has no right answer. Of one package's own, the first in the alphabet stays.
    single = [min(group) for group in same.values() if len({p.label for p in group}) == 1]
    single.sort(key=lambda passage: digest(passage.text))
    counts: Counter[str] = Counter()
    chosen = []
    for passage in different(single):
        if counts[passage.label] < per_label:
            counts[passage.label] += 1
            chosen.append(passage)
    return chosen


def different(passages: Sequence[Passage]) -> Iterator[Passage]:
    """Those of `passages` unlike every earlier one (ALIKE), found exactly by prefix filtering.

    Two sets of runs that share the part ALIKE must share one of their rarest few, so only these are indexed (Bayardo,
    Ma, Srikant: Scaling up all pairs similarity search, 2007).
    """
    runs = [_runs(passage.text) for passage in passages]
    frequency = Counter(run for own in runs for run in own)
    kept: dict[str, list[int]] = defaultdict(list)
    for index, own in enumerate(runs):
        rarest = sorted(own, key=lambda run: (frequency[run], run))
        prefix = rarest[: len(own) - math.ceil(ALIKE * len(own)) + 1]
        seen = {other for run in prefix for other in kept.get(run, ())}
        if all(len(own & runs[other]) < ALIKE * len(own | runs[other]) for other in seen):
            for run in prefix:
                kept[run].append(index)
            yield passages[index]


def _words(text: str) -> list[str]:
    """Lower-case words; numbers are all the same, so that they alone make no difference."""
    return re.findall(r"[a-z]+|0", re.sub(r"\d+", "0", text.lower()))


def _runs(text: str) -> set[str]:
    words = _words(text)
    return {" ".join(words[i : i + 3]) for i in range(max(1, len(words) - 2))}
