"""Rewards that compare the answer with the row's `answer` column. A row may name its own extraction in `extraction`."""

from __future__ import annotations

from .core import reward
from .text import extractor, hash_answer, last_number


@reward
def exact(completion: str, answer: str, extraction: str = "strip") -> float:
    """1 where the extracted answer is the row's `answer` to the letter, else 0.

    Known ways of being gamed: none beyond guessing; the extractors return one answer, never several.
    """
    return float(extractor(extraction)(completion) == str(answer).strip())


@reward
def label(completion: str, answer: str, extraction: str = "first_line") -> float:
    """1 where the extracted label is the row's, upper and lower case alike, else 0. Guessing earns its share."""
    found = extractor(extraction)(completion)
    return float(found is not None and found.casefold() == str(answer).strip().casefold())


@reward
def number(completion: str, answer: str) -> float:
    """1 where the number after `####`, or else the last number of the completion, equals the row's; else 0.

    The gold answer is read the same way, so GSM8K's worked solutions serve as they are. Known ways of being gamed: a
    completion that ends in many numbers is judged by the last one alone.
    """
    found, gold = (last_number(hash_answer(text) or text) for text in (completion, str(answer)))
    return float(found is not None and gold is not None and float(found) == float(gold))
