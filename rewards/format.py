"""Rewards for the form of a completion: a pattern, sections in tags, thinking before answering.

Always true here: form says nothing about content, so these are conditions (see `gate`) or small parts of a sum, and every
one is decided in time linear in the completion, or within its timeout.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..configs.errors import BadInput
from .cases import Case
from .core import reward
from .text import after_thinking, visible

_NAME = re.compile(r"[A-Za-z][\w.-]*")


@reward(needs_reference=False, isolated=True, timeout=1.0, overrun=0.0)
def regex(completion: str, pattern: str) -> float:
    """1 where the whole answer after any thinking, without the white space around it, matches `pattern`; else 0.

    Runs in a worker that is killed after a second: a pattern that backtracks without end earns 0 and holds nothing up.

    Args:
        completion: read after its last `</think>`.
        pattern: in Python's syntax; it must match from the first character to the last. `.` does not match a line break
            unless the pattern starts with `(?s)`.

    Raises:
        re.error: the pattern is not a valid one.

    Source: `re.fullmatch` of Python's standard library.
    Known ways of being gamed: a loose pattern (`.*42.*`) pays dumps that hold the right form somewhere; form is not content.
    """
    return float(re.fullmatch(pattern, after_thinking(completion).strip()) is not None)


@reward(needs_reference=False)
def tags(completion: str, sections: str | Sequence[str] = "answer") -> float:
    """1 where each section stands once, opened, closed and not blank, in the order given and none inside another; else 0.

    What a closed `<think>` holds is not counted, unless `think` is one of the sections.

    Args:
        completion: `<answer>42</answer>`, say; text outside the sections is free.
        sections: names of the tags, one or several: `[think, answer]`.

    Raises:
        BadInput: no name, or one that can't be a tag's.

    Source: the format reward of DeepSeek-R1 (DeepSeek-AI 2025, arXiv 2501.12948), made strict.
    Known ways of being gamed: a section with anything in it is paid; pay it as the gate of a reward that reads the content.
    """
    names = [sections] if isinstance(sections, str) else list(sections)
    if not names or not all(isinstance(name, str) and _NAME.fullmatch(name) for name in names):
        raise BadInput(f"reward 'tags': sections is {sections!r}; it should be names of tags, such as [think, answer]")
    text = completion if "think" in names else after_thinking(completion)
    place = 0
    for name in names:
        opening, closing = f"<{name}>", f"</{name}>"
        if text.count(opening) != 1 or text.count(closing) != 1:
            return 0.0
        start, end = text.index(opening), text.index(closing)
        if start < place or not visible(text[start + len(opening) : end]):
            return 0.0
        place = end + len(closing)
    return 1.0


@reward(needs_reference=False)
def think(completion: str, opened: bool = False) -> float:
    """1 where one closed `<think>` block that is not blank comes first and an answer that is not blank follows; else 0.

    Args:
        completion: begins with `<think>`, white space aside. A rollout's does wherever there is a thought, also where the chat
            template has opened the block in the prompt, and with tools as without.
        opened: the first `<think>` may be missing, as in texts from elsewhere whose prompt held it.

    Source: the format reward of DeepSeek-R1 (DeepSeek-AI 2025, arXiv 2501.12948); TRL's `think_format_reward` is looser.
    Known ways of being gamed: any two words, one in the block and one behind it; pay it as a gate.
    """
    text = completion.lstrip()
    if opened and not text.startswith("<think>"):
        text = f"<think>{text}"
    if not text.startswith("<think>") or text.count("<think>") != 1 or text.count("</think>") != 1:
        return 0.0
    thought, _, answer = text.removeprefix("<think>").partition("</think>")
    return float(visible(thought) and visible(answer))


CASES = {
    "regex": [
        Case(
            {"pattern": r"(yes|no): \d+"},
            right=["yes: 1", " no: 42\n", "<think>hm</think>yes: 3"],
            wrong=["yes", "yes: 1 no: 2", "maybe: 1", "I say yes: 1", ""],
        ),
        Case({"pattern": "(a+)+"}, right=["aaaa"], wrong=["a" * 64 + "b", "b"]),
    ],
    "tags": [
        Case(
            {},
            right=["<answer>42</answer>", "so <answer>\n42\n</answer>.", "<think><answer></think><answer>42</answer>"],
            wrong=[
                "42", "<answer>42", "42</answer>", "</answer>42<answer>", "<answer></answer>", "<answer> \n</answer>",
                "<answer>1</answer><answer>2</answer>", "<answer><answer>1</answer></answer>", "<answer>\u200b</answer>",
                "<answer>\u2800</answer>", "<answer>\u3164\ufe0f</answer>", "<answer> \u0301</answer>",
                "<answer>1</answer></answer>", "<Answer>1</Answer>", "<answer>" * 10_000, "<think><answer>1</answer>", "",
            ],
        ),
        Case(
            {"sections": ["think", "answer"]},
            right=["<think>a</think><answer>b</answer>"],
            wrong=[
                "<answer>b</answer><think>a</think>", "<think>a<answer>b</answer></think>", "<answer>b</answer>",
                "<think>a<answer>b</think>c</answer>",
            ],
        ),
    ],
    "think": [
        Case(
            {},
            right=["<think>6 * 7</think>42", "\n<think>\nhm\n</think>\n\n42\n"],
            wrong=[
                "42", "<think>42", "<think></think>42", "<think>hm</think>", "<think>hm</think> \n",
                "<think>hm</think>\u2800", "<think>\u115f</think>42", "hm</think>42",
                "42<think>hm</think>", "<think>a</think>b<think>c</think>d", "<think><think>a</think>b", "",
                "<think>a</think>b</think>c", "<think>" * 10_000,
            ],
        ),
        Case({"opened": True}, right=["hm</think>42", "<think>hm</think>42"], wrong=["42", "</think>42", "hm</think>"]),
    ],
}  # fmt: skip
