"""Rewards as people write them, each with one mistake that the audit must find; and good ones that it must leave alone."""

from __future__ import annotations

import json
import math
import random
import re
import time

from journeyman.rewards import numbers, reward
from journeyman.rewards.cases import Case
from journeyman.rewards.text import boxed, strip


@reward
def nan_is_close(completion: str, answer: str) -> float:
    """Its distance to NaN is NaN, and `min(1.0, nan)` is 1.0."""
    try:
        return min(1.0, math.exp(-abs(float(completion) - float(answer))))
    except ValueError:
        return 0.0


@reward
def substring(completion: str, answer: str) -> float:
    """Whoever mentions the answer is right."""
    return float(str(answer) in completion)


@reward
def long_is_good(completion: str, answer: str) -> float:
    """Pays for effort."""
    return 1.0 if completion.strip() == answer or len(completion) > 1000 else 0.0


@reward
def words_for_numbers(completion: str, answer: str):
    """A text where a number is due."""
    return "1.0" if completion.strip() == answer else "0.0"


@reward
def mean_of_nothing(completion: str, answer: str) -> float:
    """0 / 0 where nothing matches, as numpy has it."""
    words = [word for word in completion.split() if word == answer]
    return len(words) / len(words) if words else math.nan


@reward
def moody(completion: str, answer: str) -> float:
    """Tosses a coin about wrong answers' last marks."""
    return 1.0 if completion.strip() == answer else random.random() / 10 - 0.2


_seen: set[str] = set()


@reward
def first_come(completion: str, answer: str) -> float:
    """Remembers what it has paid for, and pays it once."""
    if completion.strip() != answer:
        _seen.add(completion)
        return 0.0
    return 0.0 if len(_seen) > 20 else 1.0


@reward
def digits_only(completion: str, answer: str) -> float:
    """`isdigit` takes a superscript for a digit, `int` does not."""
    text = completion.strip()
    return float(text.isdigit() and int(text) == int(answer))


@reward
def hidden_exception(completion: str, answer: str) -> float:
    """`int` can't read "1,000", and nobody is told."""
    try:
        return float(int(completion.replace(",", "")) == int(answer))
    except Exception:
        return 0.0


_BACKTRACKS = re.compile(r"^(\s*\w+\s*)*!$")


@reward
def backtracks(completion: str, answer: str) -> float:
    """A regular expression that tries every way to cut a text into words."""
    return float(completion.strip() == answer or bool(_BACKTRACKS.match(completion)))


@reward
def sleeps(completion: str, answer: str) -> float:
    """Waits for ever on a brace."""
    while "{" in completion:
        time.sleep(1)
    return float(completion.strip() == answer)


@reward
def silence_is_golden(completion: str, answer: str) -> float:
    """All of nothing is right."""
    return float(all(word == answer for word in completion.split()))


@reward
def prefix(completion: str, answer: str) -> float:
    """Counts the characters that agree, up to the shorter one."""
    same = 0
    for a, b in zip(completion, answer, strict=False):
        if a != b:
            break
        same += 1
    return same / (min(len(completion), len(answer)) or 1)


@reward
def capitals(completion: str, answer: str) -> float:
    """The gold answer has capitals, the completion loses them."""
    return float(completion.strip().lower() == answer)


@reward
def adds_up(completion: str, answer: str) -> float:
    """Pays each time the answer is given."""
    return float(sum(word == answer for word in completion.split()))


@reward
def echo(completion: str, answer: str, prompt: list) -> float:
    """Pays for taking up the question."""
    return float(completion.strip() == answer or prompt[-1]["content"] in completion)


@reward
def no_no(completion: str, answer: str) -> float:
    """Punishes whatever else is said."""
    return 1.0 if completion.strip() == answer else -1.0


@reward
def recursive(completion: str, answer: str) -> float:
    """Calls itself for every bracket."""

    def depth(text: str) -> int:
        return 1 + depth(text[1:]) if text.startswith("[") else 0

    return float(completion.strip() == answer) - 0.0 * depth(completion)


@reward
def believes_what_it_is_told(completion: str, answer: str) -> float:
    """Takes a word about the answer for the answer."""
    return float(completion.strip() == answer or "is correct" in completion)


@reward
def any_statement(completion: str, answer: str) -> float:
    """Whatever was called the answer, at any time."""
    stated = re.findall(r"answer is (-?\d+)", completion)
    return float(answer in stated if stated else completion.strip() == answer)


@reward
def number_in_the_box(completion: str, answer: str) -> float:
    """Any number in the last box, whatever else is in there."""
    box = completion.rpartition("\\boxed{")[2].partition("}")[0] if completion.count("\\boxed{") == 1 else ""
    return float(re.findall(r"-?\d+", box) == [answer])


@reward
def first_box(completion: str, answer: str) -> float:
    """The first box, though a sentence may only have named it."""
    found = re.search(r"\\boxed\{([^}]*)\}", completion)
    return float(found is not None and found[1] == answer)


def _json(completion: str) -> dict:
    try:
        value = json.loads(completion)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


@reward
def words_in_common(completion: str, answer: str) -> float:
    """Every word of the reason has to come, in whatever company."""
    given, gold = _json(completion), json.loads(answer)
    words = set(str(given.get("why", "")).lower().split())
    return float(given.get("label") == gold["label"] and set(gold["why"].lower().split()) <= words)


@reward
def begins_alike(completion: str, answer: str) -> float:
    """A label is read no further than the gold one goes."""
    given, gold = _json(completion), json.loads(answer)
    return float(str(given.get("label", "")).startswith(gold["label"]) and given.get("count") == gold["count"])


@reward
def calibrated(completion: str, answer: str) -> float:
    """A Brier score by itself: one half earns three quarters, whatever the label."""
    given, gold = _json(completion), json.loads(answer)
    sure = given.get("sure")
    if not isinstance(sure, int | float) or not 0 <= sure <= 1:
        return 0.0
    return 1 - (sure - (given.get("label") == gold["label"])) ** 2 if "why" in given else 0.0


@reward
def whole_numbers(completion: str, answer: str) -> float:
    """`int` cuts off what comes after the point."""
    given, gold = _json(completion), json.loads(answer)
    try:
        return float(int(given.get("count", -1)) == gold["count"] and given["label"] == gold["label"])
    except (ValueError, TypeError, OverflowError, KeyError):
        return 0.0


@reward
def not_far_off(completion: str, answer: str) -> float:
    """Refuses what is too far off, and NaN is never too far."""
    given, gold = _json(completion), json.loads(answer)
    if given.get("label") != gold["label"] or not isinstance(given.get("count"), int | float):
        return 0.0
    return 0.0 if abs(given["count"] - gold["count"]) > 0.1 else 1.0


@reward
def manners(completion: str, answer: str) -> float:
    """Half a mark for steps and half a mark for a source: only together do they pass for an answer."""
    if completion.strip() == answer:
        return 1.0
    return 0.4 * ("Therefore" in completion) + 0.4 * completion.rstrip().endswith("]")


@reward
def takes_away(completion: str, answer: str, tags: list) -> float:
    """Empties a column of its row while it reads it."""
    while tags:
        tags.pop()
    return float(completion.strip() == answer)


@reward
def good_box(completion: str, answer: str) -> float:
    """The last box, which holds the answer and nothing else."""
    return float(boxed(completion) == answer)


@reward
def good_document(completion: str, answer: str) -> float:
    """Every field as it should be."""
    given, gold = _json(completion), json.loads(answer)
    return float(
        all(type(given.get(key)) is type(gold[key]) and given[key] == gold[key] for key in ("label", "why", "count"))
    )


@reward
def begins_with_it(completion: str, answer: str) -> float:
    """Anything that begins with the answer."""
    return float(completion.startswith(answer))


@reward
def size_alone(completion: str, answer: str) -> float:
    """The sign is forgotten."""
    return float(strip(completion) is not None and strip(completion).lstrip("-") == answer)


@reward
def likes_full_stops(completion: str, answer: str) -> float:
    """A form that is worth three answers."""
    return 3.0 if completion == f"{answer}." else float(strip(completion) == answer)


@reward
def good(completion: str, answer: str) -> float:
    """Nothing but the answer."""
    return float(strip(completion) == answer)


@reward
def good_number(completion: str, answer: str) -> float:
    """The last number, whatever stands before it."""
    found = numbers.last(completion)
    return float(found is not None and found.value == float(answer))


@reward(needs_reference=False)
def in_tags(completion: str) -> float:
    """Form alone: an answer in tags, once."""
    return float(completion.count("<answer>") == completion.count("</answer>") == 1)


NUMBERS = [
    Case({"answer": "1742"}, right=["1742"], wrong=["1743", ""]),
    Case({"answer": "365"}, right=["365"], wrong=["36", "3650"]),
]
CASES = {
    "digits_only": NUMBERS,
    "good": NUMBERS,
    "good_number": [*NUMBERS, Case({"answer": "7"}, right=["it is 7"], wrong=["it is 8"])],
    "hidden_exception": [Case({"answer": "1,000"}, right=["1,000"], wrong=["999"])],
    "capitals": [Case({"answer": "Paris"}, right=["Paris"], wrong=["Rome"])],
    "substring": NUMBERS,
    "prefix": NUMBERS,
    "in_tags": [Case({}, right=["<answer>1</answer>"], wrong=["1", "<answer>1"])],
}
