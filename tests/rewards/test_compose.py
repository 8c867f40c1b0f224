import math
from pathlib import Path

import pytest
from journeyman.configs import BadInput
from journeyman.rewards import Failure, Scored, gate, reward, total
from journeyman.rewards.entries import paths_of, read_rewards
from journeyman.rewards.executor import score


def says(text, **row):
    return Scored({"prompt": [], **row}, [{"role": "assistant", "content": text}])


@reward
def tagged(completion):
    return None if completion == "?" else 0.5 * completion.startswith("<") + 0.5 * completion.endswith(">")


@reward(weight=2.0)
def long(completion):
    if completion == "raise":
        raise KeyError("long")
    return None if completion == "none" else len(completion) / 10


ITEMS = [says(text) for text in ("<a>", "<b", "no", "?", "none", "raise")]
COMPOSED = {
    "a gate": (gate(tagged, long), [0.3, 0.2, 0.0, None, 0.0, 0.0]),
    "a gate with a level": (gate(tagged, long, above=0.5), [0.3, 0.0, 0.0, None, 0.0, 0.0]),
    "a failure behind an open gate": (gate(reward(name="open")(lambda completion: 1), long), [0.3, 0.2, 0.2, 0.1, None, "long"]),
    "a sum": (total("sum", tagged, long), [1.6, 0.9, 0.4, 0.2, 0.0, "long"]),
    "a sum that weighs": (total("sum", tagged.weighing(0), long.weighing(-1)), [-0.3, -0.2, -0.2, -0.1, 0.0, "long"]),
    "a gate before a sum": (gate(tagged, total("sum", long)), [0.6, 0.4, 0.0, None, 0.0, 0.0]),
}  # fmt: skip


@pytest.mark.parametrize(("composed", "expected"), COMPOSED.values(), ids=COMPOSED)
def test_gates_and_sums(composed, expected):
    values = composed.score(ITEMS)

    for value, wanted in zip(values, expected, strict=True):
        if isinstance(wanted, str):
            assert isinstance(value, Failure) and "KeyError" in value.reason
        else:
            assert value == (None if wanted is None else pytest.approx(wanted))


def test_parts_are_scored_once_wherever_they_stand():
    calls = []

    @reward
    def counted(completion):
        calls.append(completion)
        return 1.0

    scores = score([counted, gate(counted, long, name="gated"), total("twice", counted, counted)], [says("ab")])

    assert calls == ["ab"] and scores.of(0) == {"counted": 1.0, "gated": 0.2, "twice": 2.0}
    assert scores.total.tolist() == [1.0 + 2 * 0.2 + 2.0], "a gate keeps the weight of what it guards"


def test_a_composition_asks_for_what_its_parts_ask_and_hashes_what_they_are():
    @reward
    def other(completion, rubric):
        return 1.0

    assert gate(tagged, other).missing(["prompt"]) == ["rubric"] and gate(tagged, other).missing(["rubric"]) == []
    hashes = {
        made.source_hash
        for made in (gate(tagged, long), gate(long, tagged), gate(tagged, long, above=0.5), total("s", tagged, long),
                     total("s", tagged, long.weighing(3)), gate(tagged, other))
    }  # fmt: skip
    assert len(hashes) == 6 and gate(tagged, long).source_hash == gate(tagged, long).source_hash
    with pytest.raises(BadInput, match="a sum needs at least one reward"):
        total("s")


FILE = """
from journeyman.rewards import reward

@reward
def starts(completion, letter="a"):
    return float(completion.startswith(letter))

@reward
def fails(completion):
    return 1.0

def made(letter):
    @reward(name=f"is_{letter}")
    def equal(completion):
        return float(completion == letter)
    return equal

def batch(completions, **rest):
    return [0.5] * len(completions)
"""


@pytest.fixture
def base(tmp_path):
    (tmp_path / "mine.py").write_text(FILE)
    return tmp_path


ENTRIES = {
    "a function": ("mine.py:starts", "starts", 1.0, [1.0, 0.0]),
    "a batch function": ("mine.py:batch", "batch", 1.0, [0.5, 0.5]),
    "a weight": ({"reward": "mine.py:starts", "weight": "5e-1"}, "starts", 0.5, [1.0, 0.0]),
    "a name": ({"reward": "mine.py:starts", "name": "other"}, "other", 1.0, [1.0, 0.0]),
    "an argument": ({"reward": "mine.py:starts", "kwargs": {"letter": "b"}}, "starts", 1.0, [0.0, 1.0]),
    "a function that makes one": ({"reward": "mine.py:made", "kwargs": {"letter": "ab"}}, "is_ab", 1.0, [1.0, 0.0]),
    "a gate": ({"reward": "mine.py:batch", "gate": "mine.py:starts"}, "batch", 1.0, [0.5, 0.0]),
    "a gate with a level": ({"reward": "mine.py:batch", "gate": "mine.py:batch", "above": 0.5}, "batch", 1.0, [0.0, 0.0]),
    "a sum": (
        {"sum": ["mine.py:starts", {"reward": "mine.py:batch", "weight": 2}], "name": "both", "weight": 3},
        "both", 3.0, [2.0, 1.0],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("entry", "name", "weight", "expected"), ENTRIES.values(), ids=ENTRIES)
def test_entries_of_a_config(base, entry, name, weight, expected):
    (made,) = read_rewards([entry], base, "job.yaml")

    assert (made.name, made.weight) == (name, weight)
    assert made.score([says("ab"), says("ba")]) == expected
    assert all(":" in path for path in paths_of(entry))


WRONG = {
    "neither": ({"weight": 1}, "should be module:function"),
    "both": ({"reward": "mine.py:starts", "sum": []}, "should be module:function"),
    "a number": (3, "3 should be"),
    "an unknown key": ({"reward": "mine.py:starts", "wieght": 1}, "did you mean 'weight'"),
    "a sum without a name": ({"sum": ["mine.py:starts"]}, "a sum reads {sum: [...], name: a_name}"),
    "a level without a gate": ({"reward": "mine.py:starts", "above": 1}, "`above` is the level of a `gate`"),
    "an argument that is not there": (
        {"reward": "mine.py:starts", "kwargs": {"lettre": "b"}}, "has no argument 'lettre' (it has letter)",
    ),
    "an argument a maker does not take": ({"reward": "mine.py:made", "kwargs": {"x": 1}}, "does not take these kwargs"),
    "kwargs that are no mapping": ({"reward": "mine.py:starts", "kwargs": [1]}, "should be a mapping"),
    "a name that is no text": ({"reward": "mine.py:starts", "name": 3}, "name is 3"),
    "no such function": ("mine.py:startz", "did you mean 'starts'"),
}  # fmt: skip


@pytest.mark.parametrize(("entry", "says_so"), WRONG.values(), ids=WRONG)
def test_entries_that_are_wrong_are_named(base, entry, says_so):
    with pytest.raises(BadInput) as error:
        read_rewards([entry], Path(base), "job.yaml")

    assert says_so in str(error.value)


def test_one_name_twice_and_no_weight_at_all_are_refused(base):
    with pytest.raises(BadInput, match="two of them have the same name"):
        read_rewards(["mine.py:starts", "mine.py:starts"], base, "job.yaml")
    with pytest.raises(BadInput, match="none given with a weight other than 0"):
        read_rewards([{"reward": "mine.py:starts", "weight": 0}], base, "job.yaml")


def test_bound_arguments_change_the_hash_and_travel_into_workers(tmp_path):
    (tmp_path / "far.py").write_text(
        "from journeyman.rewards import reward\n@reward(isolated=True)\n"
        "def starts(completion, letter):\n    return float(completion.startswith(letter))\n"
    )
    a, b = (
        read_rewards([{"reward": "far.py:starts", "kwargs": {"letter": letter}}], tmp_path, "job.yaml")[0]
        for letter in "ab"
    )

    assert a.score([says("ab")]) == [1.0] and b.score([says("ab")]) == [0.0]
    assert a.source_hash != b.source_hash and a.missing([]) == []
    assert math.isclose(score([a], [says("ab", letter="b")]).total[0], 1.0), "what is fixed comes before a column"
