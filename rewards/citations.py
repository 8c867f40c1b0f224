"""Rewards for answers that cite: what is quoted stands in the source, the sources that matter are cited, and a question
that the sources can't answer is declined.

Always true here: a citation is a quotation with the id of its source behind it, `"the sky is blue" [2]`; the quotation counts
where it occurs in that source to the letter, white space, the shape of quotation marks and how accents are composed aside; what
is inside a thought is no answer. All of it takes time linear in the completion and the sources.

`sources` is a column: id -> text, or a list of texts whose ids are 1, 2, 3 ...
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..configs.errors import BadInput
from .cases import Case
from .core import reward
from .match import f1
from .text import after_thinking, as_list, composed, extractor

LONGEST = 60
"""Words of a quotation at most: a copied page supports nothing in particular."""

MOST = 200
"""Different quotations that are looked up; further ones count as unsupported."""

REFUSALS = (
    "unanswerable", "not answerable", "I don't know", "I do not know", "I can't answer this", "I cannot answer this",
    "I can't answer this from the sources", "I cannot answer this from the sources", "This can't be answered",
    "This cannot be answered", "This can't be answered from the sources", "This cannot be answered from the sources",
    "The sources don't say", "The sources do not say",
)  # fmt: skip
"""What declines a question; capitals and punctuation don't count. A row or a config may bring its own in `refusals`."""

Sources = Mapping[str, str] | Sequence[str]

_CITATION = re.compile(r'"([^"\n]+)"(?:\s{0,8}\[([^\[\]"\n]{1,80})\])?|\[([^\[\]"\n]{1,80})\]')
_NEITHER = re.compile(r"[\W_]+")
_MARKS = str.maketrans({"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "’": "'", "‘": "'"})


class _Quotation(NamedTuple):
    text: str
    source: str | None
    """None where no id follows it."""


def _plain(text: str) -> str:
    return " ".join(composed(text).translate(_MARKS).split())


def _texts(sources: Sources) -> dict[str, str]:
    """id -> text, as quotations are compared with it.

    Raises:
        BadInput: it is neither a mapping nor a list.
    """
    if isinstance(sources, Mapping):
        return {str(key): _plain(str(text)) for key, text in sources.items()}
    if isinstance(sources, str) or not isinstance(sources, Sequence):
        raise BadInput(
            f"column 'sources' is a {type(sources).__name__}; it should be a mapping of id to text or a list of texts"
        )
    return {str(number): _plain(str(text)) for number, text in enumerate(sources, 1)}


def _quotations(completion: str) -> list[_Quotation]:
    """Every different quotation and lone id (which has an empty text) of the answer, in order."""
    matches = _CITATION.findall(after_thinking(completion).translate(_MARKS))
    found = (_Quotation(_plain(quoted), (source or alone).strip() or None) for quoted, source, alone in matches)
    return list(dict.fromkeys(found))


def _supported(quotation: _Quotation, sources: Mapping[str, str], least: int) -> bool:
    """Whether a quotation of a fair length stands in the source that it names, as whole words."""
    source, start = sources.get(quotation.source or ""), -1
    if source is None or not least <= len(quotation.text.split()) <= LONGEST:
        return False
    # A quotation that begins or ends within a word may turn its sense round: "able" of "unable".
    while (start := source.find(quotation.text, start + 1)) >= 0:
        end = start + len(quotation.text)
        if not (_joined(source, start) or _joined(source, end)):
            return True
    return False


def _joined(text: str, place: int) -> bool:
    return 0 < place < len(text) and text[place - 1].isalnum() and text[place].isalnum()


@reward(needs_reference=False)
def quotes(completion: str, sources: Sources, least: int = 3) -> float:
    """The share of the answer's quotations that occur literally in the source they cite; 0 where there is none.

    A quotation counts once however often it is repeated. Against it count: one that is altered, cites another source, an
    unknown source or none, has more than 60 words, or fewer than `least` and an id; and an unknown id without a quotation.
    Quotation marks round fewer than `least` words and no id behind them are no citation.

    Args:
        completion: for example `The sky is blue: "the sky is blue" [2].`
        sources: id -> text, or a list of texts.
        least: words of a quotation at least, or it could be found anywhere.

    Raises:
        BadInput: `sources` is neither.

    Source: citation precision of ALCE (Gao et al. 2023, arXiv 2305.14627), with literal support in place of a model's verdict.
    Known ways of being gamed: one safe quotation that has nothing to do with the question earns full marks, and so does an
    answer that follows from no quotation, or words out of their context (behind "it is false that"): add `coverage` and a
    reward for the answer.
    """
    texts = _texts(sources)
    found = [
        quotation
        for quotation in _quotations(completion)
        if (quotation.source is not None and (quotation.text or quotation.source not in texts))
        or (quotation.source is None and len(quotation.text.split()) >= least)
    ]
    return sum(_supported(quotation, texts, least) for quotation in found[:MOST]) / len(found) if found else 0.0


@reward
def coverage(
    completion: str, sources: Sources, required: Sequence[str | Mapping[str, str]], least: int = 3
) -> float | None:
    """The share of the required sources and facts that supported quotations cite; what is cited beyond them costs.

    The required that are covered, over the required, the needless sources and the quotations that their source does not hold,
    all together. Only a quotation that occurs in its source covers anything: an id alone does not. None where nothing is
    required.

    Args:
        completion: see `quotes`.
        sources: id -> text, or a list of texts.
        required: ids of sources that must be cited; or facts, `{source: id, text: words that a quotation of it must hold}`.
        least: words of a quotation at least.

    Raises:
        BadInput: `sources` is neither a mapping nor a list.
        ValueError: a required source is not among the sources.

    Source: citation recall of ALCE (Gao et al. 2023, arXiv 2305.14627), over sources known to be needed.
    Known ways of being gamed: any `least` words of a required source cover it, whatever they say: name facts where that is too
    little. What is said between the quotations is not read.
    """
    needs = as_list(required, "required")
    if not needs:
        return None
    texts = _texts(sources)
    wanted = [
        (str(need["source"]), _plain(str(need["text"]))) if isinstance(need, Mapping) else (str(need), "")
        for need in needs
    ]
    if missing := next((source for source, _ in wanted if source not in texts), None):
        raise ValueError(
            f"the row requires the source '{missing}', which is not among its sources ({', '.join(texts)})"
        )
    said: dict[str, list[str]] = {}
    unsupported = 0
    for quotation in _quotations(completion)[:MOST]:
        if quotation.source is not None and _supported(quotation, texts, least):
            said.setdefault(quotation.source, []).append(quotation.text)
        elif quotation.source is not None and quotation.text:
            unsupported += 1
    covered = sum(any(words in quoted for quoted in said.get(source, [])) for source, words in wanted)
    needless = len(said.keys() - {source for source, _ in wanted})
    return covered / (len(wanted) + needless + unsupported)


@reward
def refusal(
    completion: str,
    answerable: bool,
    answer: str | Sequence[str] | None = None,
    refusals: Sequence[str] = REFUSALS,
    extraction: str = "strip",
) -> float | None:
    """Declining what can't be answered, and answering what can, in [0, 1].

    An unanswerable question pays 1 for a refusal, which is an answer that says one of `refusals` and nothing else. An
    answerable one pays 0 for a refusal, and the `f1` of the answer. A hedge, which says one and goes on, earns 0 on both.

    Args:
        completion: the answer after any thinking.
        answerable: whether the sources hold an answer.
        answer: the gold answer of an answerable row; where there is none, an answer is None, for other rewards to judge.
        refusals: what declines.
        extraction: how the answer is read.

    Raises:
        ValueError: `answerable` is not true or false.

    Source: SQuAD 2.0 (Rajpurkar et al. 2018, arXiv 1806.03822), where an unanswerable question takes an empty answer.
    Known ways of being gamed: refusing always earns the share of unanswerable rows, so keep that share small; a hedge in
    words that are not in `refusals` counts as an answer and earns what its words earn; for the rest see `f1`.
    """
    if not isinstance(answerable, bool):
        raise ValueError(f"the row's 'answerable' is {answerable!r}; it should be true or false")
    said = _words(extractor(extraction)(completion) or "")
    declines = [words for text in as_list(refusals, "refusals") if (words := _words(text)).strip()]
    if not answerable:
        return float(said in declines)
    # A gold answer may itself be "I don't know", as the name of a song, say.
    earned = f1.function(completion, answer, extraction) if answer else None
    if earned != 1.0 and (not said.strip() or any(words in said for words in declines)):
        return 0.0
    return earned


def _words(text: str) -> str:
    """Lower-case words between single spaces, one at either end, so that whole words are found by `in`."""
    return f" {' '.join(_NEITHER.sub(' ', composed(text).translate(_MARKS).replace(chr(39), '').casefold()).split())} "


_SKY = {"1": "The sky is blue because of Rayleigh scattering.", "2": "Grass looks green; the sea is unable to."}

CASES = {
    "quotes": [
        Case(
            {"sources": _SKY},
            right=[
                'It scatters: "blue because of Rayleigh scattering" [1].',
                'So: “The sky is blue” [1], and "Grass looks green" [2].',
                '<think>"made up words here" [2]</think>"The sky  is blue" [1] and "so"',
            ],
            wrong=[
                "The sky is blue.", "The sky is blue [1].", '"the sky is red" [1]', '"The sky is blue" [2]', '"The sky is blue"',
                '"The sky is blue" [3]', '"The" [1]', '"able to" [2]', "[1] [2]", "", '"sea is un" [2]', '"' * 10_000,
                '<think>"The sky is blue" [1]',
            ],
        ),
    ],
    "coverage": [
        Case(
            {"sources": list(_SKY.values()), "required": ["1", {"source": "2", "text": "green"}]},
            right=['"The sky is blue" [1] and "Grass looks green" [2]'],
            wrong=["[1] [2]", '"the sea is unable" [2]', '"The sky is red" [1]', "", '"The sky is blue" [2]'],
        ),
    ],
    "refusal": [
        Case(
            {"answerable": False},
            right=["Unanswerable.", "I don’t know", "<think>Paris?</think>The sources do not say."],
            wrong=["Paris", "I don't know, but Paris", "Unanswerable. Paris.", "unanswerable unanswerable", ""],
        ),
        Case(
            {"answerable": True, "answer": "Paris"},
            right=["Paris", "paris."],
            wrong=["Unanswerable", "I don't know, perhaps Paris", "Paris. Or: I can't answer this.", "Rome", "", " . "],
        ),
    ],
}  # fmt: skip
