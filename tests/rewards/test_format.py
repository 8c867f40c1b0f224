import re
import time

import pytest
from journeyman.configs import BadInput
from journeyman.rewards.core import Failure, Scored
from journeyman.rewards.format import CASES, regex, tags, think
from trl.rewards.format_rewards import think_format_reward

REWARDS = {judge.name: judge for judge in (regex, tags, think)}


def earn(judge, *completions, **row):
    return judge.score([Scored(row, [{"role": "assistant", "content": text}]) for text in completions])


@pytest.mark.parametrize(("name", "case"), [(name, case) for name, cases in CASES.items() for case in cases])
def test_the_shipped_cases_hold(name, case):
    assert earn(REWARDS[name], *case.right, **case.row) == [1.0] * len(case.right)
    assert earn(REWARDS[name], *case.wrong, **case.row) == [0.0] * len(case.wrong)


@pytest.mark.parametrize("pattern", [r"\d+", r"(?s).*42.*", r"(?i)yes|no", r"a*", r"\w+ \w+"])
def test_a_pattern_matches_as_the_standard_library_says(pattern):
    texts = ["42", "so 42\nit is", "YES", "no way", "", "aaa", "1\n2", "aab"]

    assert earn(regex, *texts, pattern=pattern) == [float(bool(re.fullmatch(pattern, text))) for text in texts]
    assert regex.binding(pattern=pattern).missing([]) == [] and regex.missing([]) == ["pattern"]


def test_patterns_that_backtrack_are_ended_one_by_one_and_pay_nothing():
    began = time.monotonic()
    values = earn(regex, "a" * 60 + "!", "aaa", "b" * 60 + "a" * 60 + "!", pattern=r"(a|aa|b+)+")

    assert values == [0.0, 1.0, 0.0] and time.monotonic() - began < 5


def test_a_pattern_that_is_none_is_unscorable():
    (value,) = earn(regex, "a", pattern="(")

    assert isinstance(value, Failure) and "unterminated subpattern" in value.reason


@pytest.mark.parametrize("sections", ["", [], "a b", ["answer", 1], "<answer>", ["answer", ""]])
def test_sections_that_no_tag_can_have_are_bad_input(sections):
    with pytest.raises(BadInput, match="sections"):
        earn(tags, "x", sections=sections)


THOUGHTS = [
    "<think>a</think>b", "<think>\na\n</think>\nb", "b", "<think>a", "a</think>b", "<think>a<think>b</think>c",
    "b<think>a</think>c", "<think>a</think>b<think>c</think>d", "", "<Think>a</Think>b",
]  # fmt: skip


def test_thinking_is_never_looser_than_trls():
    """TRL's also takes a blank thought, a blank answer and a second `</think>`; on the rest both agree."""
    completions = [[{"content": text}] for text in THOUGHTS]

    assert earn(think, *THOUGHTS) == think_format_reward(completions)
    looser = ["<think></think>b", "<think>a</think>", "<think>a</think>b</think>c"]
    assert earn(think, *looser) == [0.0] * 3 and think_format_reward([[{"content": t}] for t in looser]) == [1.0] * 3


HOSTILE = {
    "opened": "<answer>" * 20_000, "closed": "</answer>" * 20_000, "pairs": "<answer>a</answer>" * 10_000,
    "angles": "<" * 130_000, "thoughts": "<think>" * 20_000, "closed thoughts": "<think>a</think>" * 10_000,
    "blank": " " * 130_000, "a long section": "<answer>" + "\u200b" * 130_000 + "</answer>",
    "nested": "<think><answer>" * 9_000, "zeros": "\0" * 130_000,
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("judge", [tags, think], ids=lambda judge: judge.name)
def test_hostile_text_earns_nothing_and_takes_no_time(judge, text):
    began = time.process_time()

    assert earn(judge, text) == [0.0] and time.process_time() - began < 0.2
