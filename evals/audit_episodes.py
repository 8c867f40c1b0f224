"""The audit of whole episodes: the oracle's must earn full marks, idle and blind ones nothing, and none may feel another.

Invariants: each episode runs in a killable process, in an environment of its own unless the shared one is what is tried; what
can't be tried is said with the reason.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from ..envs.core import Environment, Row, tools_of
from ..rewards.attempts import Attempt, Expect, Target
from ..rewards.core import Reward
from . import audit_policies as policies
from .audit_calls import Outcome, forked
from .audit_evidence import Finding, Tried
from .audit_play import Episode, Messages, Played, Policy, Turn, play

EPISODES = {
    "idle": "an episode in which nothing is done, or that never ends",
    "calls": "tools called without reading the task, and another task's calls",
    "revealed": "a wrong value, then what the environment gave away about the right one",
    "spare": "the oracle's episode after a call that does nothing: it must still earn full marks",
    "artifact": "the oracle's episode with the documents that it hands in empty or cut",
    "state": "an episode after another one in the same environment, and alongside another one: nothing may change",
}
"""name -> what is played, in a job with tools."""

LENT = "another task's episode"
LONGER = 4.0
"""Times the limit of a call that an episode may take."""


@dataclass(frozen=True)
class Stage:
    """A reward, the environment whose episodes it scores, the rows that are played, and seconds for a call."""

    reward: Reward
    env: Environment
    rows: Sequence[Row]
    seconds: float

    def fresh(self, i: int, policy: Policy) -> Played:
        """Row `i` in an environment of its own."""
        env = self.env.another()
        try:
            return play(env, self.rows[i], policy, self.reward)
        finally:
            env.close()

    def oracle(self, i: int) -> Policy:
        """What the oracle does on row `i`."""
        return policies.oracle(self.env, self.rows[i])

    def many(self, works: Sequence[Callable[[], Played]], deadline: float) -> Iterator[tuple[int, Played]]:
        """Each of `works` in a killable process, until the deadline."""
        made = forked(
            len(works),
            lambda number: works[number](),
            limit=LONGER * self.seconds,
            ended=lambda problem, detail, took: Played(Outcome(None, problem, detail, took, killed=True)),
        )
        for number, played in made:
            yield number, played
            if time.perf_counter() > deadline:
                return


@dataclass
class Result:
    """What the episodes came to.

    Args:
        said: the oracle's last message on each row; empty where it made none.
        before: the messages before that one, the prompt left out.
    """

    tried: list[Tried] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    before: list[Messages] = field(default_factory=list)


@dataclass(frozen=True)
class _Plan:
    attempt: Attempt
    row: int
    work: Callable[[], Played]


def play_episodes(stage: Stage, names: Sequence[str], deadline: float) -> Result:
    """The oracle's episode on every row, then those of the attacks called `names`."""
    result = Result()
    golds = {i: p for i, p in stage.many([_oracles(stage, i) for i in range(len(stage.rows))], deadline)}
    result.said = [golds[i].said if i in golds else "" for i in range(len(stage.rows))]
    result.before = [[dict(m) for m in golds[i].messages[:-1]] if i in golds else [] for i in range(len(stage.rows))]
    lost = _no_oracle(stage, golds)
    if lost:
        result.reasons = dict.fromkeys(("gold", "spare", "artifact", "state"), lost)
        golds = {}
    gold = Attempt("gold", "the oracle's episode", "", Expect.FULL)
    result.tried = [_tried(stage, gold, i, played) for i, played in golds.items()]
    plans = [plan for name in names if name in EPISODES for plan in _plans(stage, name, golds, result.reasons)]
    apart: dict[str, list[tuple[_Plan, Played]]] = defaultdict(list)
    done = 0
    for number, played in stage.many([plan.work for plan in plans], deadline):
        plan, done = plans[number], done + 1
        if plan.attempt.attack == "state":
            same = _same(played, golds[plan.row], plan.attempt.kind)
            apart[plan.attempt.kind] += [] if same else [(plan, played)]
        result.tried.append(_tried(stage, plan.attempt, plan.row, played))
    for name in {plan.attempt.attack for plan in plans[done:]} - {plan.attempt.attack for plan in plans[:done]}:
        result.reasons[name] = "no time was left"
    result.findings = [_leak(kind, found, golds, plans) for kind, found in apart.items() if found]
    return result


def _oracles(stage: Stage, i: int) -> Callable[[], Played]:
    return lambda: stage.fresh(i, stage.oracle(i))


def _no_oracle(stage: Stage, golds: dict[int, Played]) -> str:
    """Why there is no oracle to go by; empty where there is one."""
    raised = [p.outcome for p in golds.values() if p.outcome.problem == "raised"]
    unknown = [o for o in raised if o.detail.startswith(("NotImplementedError", "KeyError"))]
    if golds and len(unknown) == len(golds):
        return f"the oracle gives no turns ({unknown[0].detail})"
    names = [tool.__name__ for tool in tools_of(stage.env)]
    calls = any(turn.calls for p in golds.values() for turn in p.turns)
    if golds and not calls and any(name in p.said for p in golds.values() for name in names):
        return "the oracle's calls can't be read: they are no JSON between <tool_call> tags"
    return "" if golds else "no time was left"


def _plans(stage: Stage, name: str, golds: dict[int, Played], reasons: dict[str, str]) -> list[_Plan]:
    """The episodes of one attack; where there are none, the reason is written into `reasons`."""
    if name in ("spare", "artifact", "state") and not golds:
        return []
    made = list({"spare": _spare, "artifact": _artifact, "state": _state}.get(name, _blind)(stage, name, golds))
    if not made:
        reasons[name] = {
            "spare": f"the oracle needs all {stage.env.limits.turns} turns, so no call can come before them",
            "artifact": "no call of the oracle hands in a document",
            "revealed": "no tool takes a text",
        }.get(name, "there is one row alone")
    return made


def _blind(stage: Stage, name: str, golds: dict[int, Played]) -> Iterator[_Plan]:
    for i in range(len(stage.rows)):
        for kind, policy in getattr(policies, name)(stage.env):
            yield _Plan(Attempt(name, kind, "", Expect.CHANCE), i, _playing(stage, i, policy))
        if name == "calls":
            for other in _others(i, golds)[:1]:
                policy = policies.script(golds[other].turns)
                yield _Plan(Attempt(name, LENT, "", Expect.CHANCE), i, _playing(stage, i, policy))


def _spare(stage: Stage, name: str, golds: dict[int, Played]) -> Iterator[_Plan]:
    attempt = Attempt(name, "a call of a tool that there is not, first", "", Expect.KEPT)
    for i, gold in golds.items():
        if len(gold.turns) < stage.env.limits.turns:
            then = policies.oracle(stage.env, stage.rows[i], hidden=2)
            start = len(stage.rows[i]["prompt"])

            def act(messages: Messages, start: int = start, then: Policy = then) -> Turn:
                return Turn("", ((policies.NO_SUCH_TOOL, {}),)) if len(messages) == start else then(messages)

            yield _Plan(attempt, i, _playing(stage, i, act))


def _artifact(stage: Stage, name: str, golds: dict[int, Played]) -> Iterator[_Plan]:
    for i, gold in golds.items():
        for kind, turns in policies.spoilt(gold.turns).items():
            attempt = Attempt(name, f"the document {kind}", "", Expect.CHANCE, 0.99)
            yield _Plan(attempt, i, _playing(stage, i, policies.script(turns)))


def _state(stage: Stage, name: str, golds: dict[int, Played]) -> Iterator[_Plan]:
    """The oracle's episode, twice alone, after another, alongside another; and an idle one after the oracle's."""
    for i in golds:
        yield _Plan(Attempt(name, AGAIN, "", Expect.SAFE), i, _oracles(stage, i))
        for other in _others(i, golds)[:1]:
            yield _Plan(Attempt(name, AFTER, "", Expect.SAFE), i, _after(stage, i, other))
            yield _Plan(Attempt(name, ALONGSIDE, "", Expect.SAFE), i, _alongside(stage, i, other))
        yield _Plan(Attempt(name, IDLE_AFTER, "", Expect.CHANCE), i, _idle_after(stage, i))


AGAIN, AFTER, ALONGSIDE = "alone, again", "after another episode", "alongside another episode"
IDLE_AFTER = "nothing is done, after an episode that was won"


def _playing(stage: Stage, i: int, policy: Policy) -> Callable[[], Played]:
    return lambda: stage.fresh(i, policy)


def _after(stage: Stage, i: int, other: int) -> Callable[[], Played]:
    def work() -> Played:
        env = stage.env.another()
        play(env, stage.rows[other], stage.oracle(other), stage.reward)
        play(env, stage.rows[i], next(policies.calls(env))[1], stage.reward)
        return play(env, stage.rows[i], stage.oracle(i), stage.reward)

    return work


def _alongside(stage: Stage, i: int, other: int) -> Callable[[], Played]:
    def work() -> Played:
        mine, theirs = Episode(stage.env.another(), stage.rows[i]), Episode(stage.env.another(), stage.rows[other])
        while not mine.over:
            if not theirs.over:
                theirs.step(stage.oracle(other))
            mine.step(stage.oracle(i))
        return mine.play(stage.oracle(i), stage.reward)

    return work


def _idle_after(stage: Stage, i: int) -> Callable[[], Played]:
    def work() -> Played:
        env = stage.env.another()
        play(env, stage.rows[i], stage.oracle(i), stage.reward)
        return play(env, stage.rows[i], policies.script([policies.DONE]), stage.reward)

    return work


def _others(i: int, golds: dict[int, Played]) -> list[int]:
    """Rows that the oracle works in another way."""
    return [
        n
        for n in [*range(i + 1, max(golds, default=0) + 1), *range(i)]
        if n in golds and golds[n].turns != golds[i].turns
    ]


def _same(played: Played, gold: Played, kind: str) -> bool:
    """Whether an episode went as the oracle's own did, in what was replied and what was paid."""
    if kind == IDLE_AFTER:  # judged by what it is paid
        return True
    return (played.outcome.value, played.replies) == (gold.outcome.value, gold.replies)


def _leak(
    kind: str, found: Sequence[tuple[_Plan, Played]], golds: dict[int, Played], plans: Sequence[_Plan]
) -> Finding:
    n = sum(plan.attempt.kind == kind for plan in plans)
    shown = []
    for plan, played in found[:3]:
        gold = golds[plan.row]
        replies = next(((a, b) for a, b in zip(gold.replies, played.replies, strict=False) if a != b), ("", ""))
        paid = f"paid {_value(gold)}, then {_value(played)}"
        shown.append(
            f"{gold.shown(100)}: {paid}" + (f"; replied {replies[0]!r:.60}, then {replies[1]!r:.60}" * any(replies))
        )
    if kind == AGAIN:
        return Finding(
            "state", True, f"{len(found)} of {n} episodes go another way when played again alone", tuple(shown)
        )
    message = f"{len(found)} of {n} episodes go another way {kind}: state is left over that reset() does not clear"
    return Finding("state", True, message, tuple(shown))


def _value(played: Played) -> str:
    value = played.outcome.value
    return played.outcome.detail or "no value" if value is None else f"{value:g}"


def _tried(stage: Stage, attempt: Attempt, i: int, played: Played) -> Tried:
    text = played.shown()
    return Tried(
        Attempt(attempt.attack, attempt.kind, text, attempt.expect, attempt.half, weak=attempt.weak),
        Target(stage.rows[i]), i, played.outcome,
    )  # fmt: skip
