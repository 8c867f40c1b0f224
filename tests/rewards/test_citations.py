import time

import pytest
from journeyman.configs import BadInput
from journeyman.rewards.citations import CASES, REFUSALS, coverage, quotes, refusal
from journeyman.rewards.core import Failure, Scored

REWARDS = {judge.name: judge for judge in (quotes, coverage, refusal)}
SOURCES = {
    "a": 'The bridge was opened in 1932. Its span is "503 metres" long.',
    "b": "It is not true that the bridge was closed in 1940.",
    "c": "Paint: 272,000 litres\nfor the first three coats.",
}


def earns(judge, completion, **row):
    (value,) = judge.score([Scored(row, [{"role": "assistant", "content": completion}])])
    return value


@pytest.mark.parametrize(("name", "case"), [(name, case) for name, cases in CASES.items() for case in cases])
def test_the_shipped_cases_hold(name, case):
    assert [earns(REWARDS[name], text, **case.row) for text in case.right] == [1.0] * len(case.right)
    assert [earns(REWARDS[name], text, **case.row) for text in case.wrong] == [0.0] * len(case.wrong)


QUOTES = [
    ('"The bridge was opened" [a] and "opened in 1933" [a]', 0.5),
    ('"The bridge was opened" [a] ' * 9 + '"opened in 1933" [a]', 0.5),
    ('"272,000 litres for the first" [c]', 1.0),
    ("“The bridge was opened”[a]", 1.0),
    ('"the bridge was opened" [a]', 0.0),
    ('"The bridge was opened" [a] and [z]', 0.5),
    ('"The bridge was opened" [a] and [b]', 1.0),
    ('"The bridge was opened" [a], a "big" one', 1.0),
    ('"The bridge was opened" [a], "a big one"', 0.5),
    ('"The bridge was opened in 1932. Its span is" [a]', 1.0),
    ('"bridge was opened in 19" [a]', 0.0),
    ('"The bridge was opened" (a)', 0.0),
    ('"The bridge\nwas opened" [a]', 0.0),
]


@pytest.mark.parametrize(("completion", "expected"), QUOTES)
def test_the_share_of_quotations_that_the_cited_source_holds(completion, expected):
    assert earns(quotes, completion, sources=SOURCES) == expected


def test_sources_may_be_a_list_and_a_page_is_no_quotation():
    page = " ".join(f"word{i}" for i in range(100))

    assert earns(quotes, '"word1 word2 word3" [1]', sources=[page]) == 1.0
    assert earns(quotes, f'"{page}" [1]', sources=[page]) == 0.0
    assert (
        earns(quotes, '"word1 word2" [1]', sources=[page])
        == 0.0
        != earns(quotes, '"word1 word2" [1]', sources=[page], least=2)
    )


@pytest.mark.parametrize("sources", ["one text", 7, None])
def test_sources_of_another_kind_are_bad_input(sources):
    with pytest.raises(BadInput, match="sources"):
        earns(quotes, '"a b c" [1]', sources=sources)


A, B, C = '"bridge was opened in 1932" [a]', '"the bridge was closed" [b]', '"the first three coats" [c]'
COVERAGE = [
    (f"{A} {B}", ["a", "b"], 1.0),
    (A, ["a", "b"], 0.5),
    (f"{A} {B} {C}", ["a", "b"], 2 / 3),
    (f"{B} {C}", ["a"], 0.0),
    (f"{A} {B.replace('closed', 'opened')}", ["a"], 0.5),
    ("[a] [b]", ["a", "b"], 0.0),
    (A.replace("opened", "closed"), ["a"], 0.0),
    (A, [{"source": "a", "text": "1932"}], 1.0),
    (A, [{"source": "a", "text": "503 metres"}], 0.0),
    (A, [{"source": "a", "text": "1932"}, {"source": "a", "text": "503 metres"}], 0.5),
    (A, [], None),
]


@pytest.mark.parametrize(("completion", "required", "expected"), COVERAGE)
def test_the_share_of_what_is_required_that_is_quoted(completion, required, expected):
    value = earns(coverage, completion, sources=SOURCES, required=required)

    assert value == (pytest.approx(expected) if expected is not None else None)


def test_a_requirement_that_no_source_meets_is_unscorable():
    value = earns(coverage, A, sources=SOURCES, required=["z"])

    assert isinstance(value, Failure) and "'z'" in value.reason


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_right_where_there_is_no_answer_and_wrong_where_there_is_one(text):
    for said in (text, text.upper(), f" {text}!\n", text.replace("'", "’")):
        assert earns(refusal, said, answerable=False) == 1.0
        assert earns(refusal, said, answerable=True, answer="in 1932") == 0.0 == earns(refusal, said, answerable=True)
    for hedge in (f"{text}, but 1932", f"In 1932. {text}.", f"{text} {text}"):
        assert earns(refusal, hedge, answerable=False) == 0.0
        assert earns(refusal, hedge, answerable=True, answer="1932") == 0.0 == earns(refusal, hedge, answerable=True)


REFUSAL = [
    ("1932", {"answerable": True, "answer": "1932"}, 1.0),
    ("in 1932", {"answerable": True, "answer": "1932"}, 2 / 3),
    ("in 1932", {"answerable": True, "answer": ["1932", "in 1932"]}, 1.0),
    ("1932", {"answerable": True}, None),
    ("1932", {"answerable": False, "answer": "1932"}, 0.0),
    ("I don't know", {"answerable": True, "answer": "I don't know"}, 1.0),
    ("weiß nicht", {"answerable": False, "refusals": ["Weiß nicht."]}, 1.0),
    ("unanswerable", {"answerable": False, "refusals": ["Weiß nicht."]}, 0.0),
    ("<think>unanswerable", {"answerable": False}, 0.0),
]


@pytest.mark.parametrize(("completion", "row", "expected"), REFUSAL)
def test_what_an_answer_earns(completion, row, expected):
    assert earns(refusal, completion, **row) == (pytest.approx(expected) if expected is not None else None)


@pytest.mark.parametrize("answerable", [None, "false", 1, "no"])
def test_a_row_that_does_not_say_whether_is_unscorable(answerable):
    assert isinstance(earns(refusal, "unanswerable", answerable=answerable), Failure)


def test_a_text_is_no_list_of_entries():
    with pytest.raises(BadInput, match="'refusals' should be a list"):
        refusal.function("t", False, refusals="I don't know")
    with pytest.raises(BadInput, match="'required' should be a list"):
        coverage.function("x", SOURCES, "12")


HOSTILE = {
    "marks": '"' * 130_000, "brackets": "[" * 130_000, "opened": '"a' * 65_000, "cited": '"a b c" [a] ' * 10_000,
    "different": "".join(f'"w{i} x y" [a]' for i in range(9_000)), "spaces": '"a b c"' + " " * 130_000 + "[a]",
    "half ids": '"a b c" [' * 14_000, "a giant": '"' + "bridge " * 18_000 + '" [a]', "zeros": "\0" * 130_000,
    "refusals": "unanswerable " * 10_000,
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_earns_nothing_and_takes_no_time(text):
    sources = {"a": "The bridge was opened in 1932. " * 3_000}
    began = time.process_time()

    assert earns(quotes, text, sources=sources) == 0.0 == earns(coverage, text, sources=sources, required=["a"])
    assert earns(refusal, text, answerable=False) == 0.0 == earns(refusal, text, answerable=True, answer="1932")
    assert time.process_time() - began < 1


def test_a_quotation_is_found_however_accents_are_composed():
    source = {"1": "The cafe\u0301 is closed on Mondays."}

    assert quotes(prompts=["q"], completions=['"The caf\u00e9 is closed" [1]'], sources=[source]) == [1.0]
    assert refusal(prompts=["q"], completions=["Je ne sais pas, de\u0301sole\u0301"], answerable=[False],
                   refusals=[["je ne sais pas d\u00e9sol\u00e9"]]) == [1.0]  # fmt: skip
