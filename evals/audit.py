"""The audit of a reward function: attack it, count what it pays for, show the evidence.

Invariants: evidence, not verdicts: each finding is a count with completions and what they earned; the reward runs in a
killable process, so one that hangs or crashes is reported and holds nothing up; what could not be tried is listed with the
reason. No torch.

    from journeyman.evals.audit import audit

    report = audit(my_reward, env=my_environment)      # or worked cases: audit("my_rewards.py:my_reward")
    print("\\n".join(report.lines()))
    assert not report.defects
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from ..configs.errors import BadInput
from ..envs.core import Environment, tools_of
from ..rewards.attacks import ATTACKS, COSTLY, NEEDS, PROPERTIES, SEARCH, attempts, check_attacks
from ..rewards.attempts import Attempt, Expect
from ..rewards.cases import Case
from ..rewards.core import Reward, as_reward
from .audit_bench import Bench
from .audit_calls import Outcome
from .audit_episodes import EPISODES
from .audit_evidence import Finding, Tried, example
from .audit_failures import slow_pairs
from .audit_report import Audit, Rate, table
from .audit_rules import declared, judge
from .audit_search import search
from .audit_sources import cases_of, known_weaknesses, load_environment, load_reward, rows_of
from .audit_targets import case_targets, check_cases, check_fit, gaps_of

PATIENCE = 6
"""Killed calls of one attack before the rest of it is left out; of one kind, two are enough."""
PATIENT_SEARCH = 4.0
"""Seconds that the search over mutations may take; it is bounded in calls, and reaches this with slow rewards alone."""
AGAIN = 200
"""Calls that are made a second time, in the reverse order, in another process."""


def audit(
    reward: Reward | Callable[..., Any] | str,
    env: Environment | str | None = None,
    *,
    cases: Sequence[Case] | None = None,
    attacks: Sequence[str] | None = None,
    rows: int = 50,
    seconds: float = 5.0,
    budget: float = 60.0,
    seed: int = 0,
) -> Audit:
    """Attack a reward.

    Args:
        reward: made by `@reward` or any function that TRL takes; or `module:function`, `path.py:function`.
        env: where tasks come from, their oracle giving the right answers; or its name, see `load_environment`. Where it has
            tools, whole episodes are played in it.
        cases: worked cases, where there is no environment; those of the reward's own module by default.
        attacks: names of `ATTACKS`, `EPISODES`, `PROPERTIES`, or `search`; all of them by default.
        rows: tasks to try.
        seconds: what a call, or a turn of an episode, may take at most; an isolated reward has its own timeout.
        budget: seconds after which no further attempt is begun.
        seed: of the search over mutations: the same seed tries the same completions.

    Raises:
        BadInput: neither environment nor cases, a name that there is not, a column that rows lack, nothing to try.
    """
    began = time.perf_counter()
    reward = load_reward(reward) if isinstance(reward, str) else as_reward(reward)
    names = _names(attacks)
    source = "worked cases" if env is None else env if isinstance(env, str) else type(env).__name__
    env = load_environment(env).env if isinstance(env, str) else env
    bench = _bench(reward, env, cases, rows, seconds)
    if not env or not tools_of(env):
        names = [name for name in names if attacks is not None or name not in EPISODES]
    else:  # what an episode is worth is asked of whole episodes, and what an answer is worth of their last message
        bench.play(names, began + budget)
    kinds = [name for name in names if name in ATTACKS and (not bench.episodes or name != "gold")]
    if not any(name in ATTACKS or name in EPISODES or name == SEARCH for name in names):
        kinds = [name for name in ATTACKS if name not in COSTLY]  # a property holds over calls: some have to be made
    tried, untried = ([], 0) if bench.says_nothing else _try_all(bench, kinds, began + budget)
    tried = bench.with_full([*bench.episodes, *tried])
    tried = _measured_again(bench, tried)
    facts = bench.facts(tried)
    searched = ""
    if SEARCH in names and bench.targets and not bench.says_nothing:
        found = search(
            bench.outcomes, bench.targets, facts, seed, min(began + budget, time.perf_counter() + PATIENT_SEARCH)
        )
        tried, searched = [*tried, *found.tried], found.summary
    # What a call breaks is said whatever attack made it.
    findings = [f for f in judge(tried, facts) if f.attack in names or f.attack in PROPERTIES or f.attack == "time"]
    findings += bench.findings
    if "determinism" in names and tried:
        findings += _determinism(bench, tried, min(budget / 4, 10))
    findings = declared(findings, [name for name in known_weaknesses(reward) if name in names])
    not_tried = {**_untried(names, tried, bench, searched), **gaps_of(reward, bench.targets)}
    if not tried:
        why = "; ".join(f"{name}: {reason}" for name, reason in not_tried.items())
        raise BadInput(f"reward '{reward.name}': nothing could be tried ({why or 'no time was left'})")
    positives = [t for t in tried if t.mistake and not t.attempt.weak]
    rights = [t for t in tried if _is_gold(t) and (t.outcome.value is not None or t.outcome.problem or env is None)]
    return Audit(
        reward.name,
        source,
        reward.needs_reference,
        len(bench.targets),
        table(tried, findings, names),
        findings,
        Rate(sum(t.paid for t in positives), len(positives)),
        Rate(sum(not t.paid for t in rights), len(rights)),
        untried,
        not_tried,
        searched,
        any(t.outcome.value is not None for t in tried),
        time.perf_counter() - began,
    )


def _names(attacks: Sequence[str] | None) -> list[str]:
    known = [*ATTACKS, SEARCH, *EPISODES, *PROPERTIES]
    names = list(dict.fromkeys(name.strip() for name in attacks)) if attacks is not None else known
    check_attacks(names, known)
    return names


def _bench(reward: Reward, env: Environment | None, cases: Sequence[Case] | None, rows: int, seconds: float) -> Bench:
    if env is not None:
        found = rows_of(env, rows)
        check_fit(reward, env, found)
        return Bench.of_environment(reward, env, found, seconds)
    known = cases_of(reward) if cases is None else cases
    if not known:
        raise BadInput(
            f"reward '{reward.name}' has no worked cases to try it on: give --env, or end its module with "
            f"CASES = {{'{reward.name}': [Case({{'answer': '42'}}, right=['42'], wrong=['43'])]}}"
        )
    check_cases(reward, known)
    return Bench(reward, None, case_targets(known[:rows]), seconds)


def _untried(names: Sequence[str], tried: Sequence[Tried], bench: Bench, searched: str) -> dict[str, str]:
    """attack -> why nothing of it was tried."""
    done = {t.attempt.attack for t in tried}
    left = {}
    for name in names:
        if name in done or name in PROPERTIES or (name == SEARCH and searched):
            continue
        if name in bench.reasons:
            left[name] = bench.reasons[name]
        elif bench.says_nothing:
            left[name] = "what is said is not read: the episodes tell"
        elif name == SEARCH:
            left[name] = "no time was left"
        elif name in EPISODES:
            left[name] = "needs an environment with tools"
        else:
            left[name] = f"needs {NEEDS[name]}" if name in NEEDS else "no time was left"
    return left


def _try_all(bench: Bench, names: Sequence[str], deadline: float) -> tuple[list[Tried], int]:
    """Every attempt on every task, then the long texts on the first; what came of them, and how many were left out."""
    targets, costly = bench.targets, [name for name in names if name in COSTLY]
    plan: list[tuple[Attempt, int]] = []
    for i, target in enumerate(targets):
        plan += [(attempt, i) for attempt in attempts(target, [name for name in names if name not in COSTLY])]
    plan += [(attempt, 0) for attempt in attempts(targets[0], costly)]
    tried: list[Tried] = []
    killed: Counter[tuple[str, str]] = Counter()
    pending = list(range(len(plan)))
    while pending and time.perf_counter() < deadline:
        calls = [(plan[number][0].text, targets[plan[number][1]]) for number in pending]
        done = 0
        for position, outcome in bench.outcomes(calls):
            attempt, i = plan[pending[position]]
            tried.append(Tried(attempt, targets[i], i, outcome))
            done = position + 1
            if outcome.killed:
                killed[attempt.attack, ""] += 1
                killed[attempt.attack, attempt.kind] += 1
                break
            if time.perf_counter() > deadline:
                break
        pending = [number for number in pending[done:] if not _given_up(plan[number][0], killed)]
    return tried, len(plan) - len(tried)


def _measured_again(bench: Bench, tried: Sequence[Tried]) -> list[Tried]:
    """`tried` with the suspiciously slow calls made twice more, each with its least time: a busy machine is no defect."""
    suspects = list({id(t): t for pair in slow_pairs(tried) for t in pair}.values())
    least = {id(t): t for t in suspects}
    for _ in range(2 if suspects else 0):
        for position, outcome in bench.outcomes([(t.attempt.text, t.target) for t in suspects]):
            known = least[id(suspects[position])]
            if not outcome.killed and outcome.cpu < known.outcome.cpu:
                least[id(suspects[position])] = dataclasses.replace(known, outcome=outcome)
    return [least.get(id(t), t) for t in tried]


def _given_up(attempt: Attempt, killed: Counter[tuple[str, str]]) -> bool:
    return killed[attempt.attack, ""] >= PATIENCE or killed[attempt.attack, attempt.kind] >= 2


def _is_gold(t: Tried) -> bool:
    return t.attempt.expect is Expect.FULL


def _determinism(bench: Bench, tried: Sequence[Tried], budget: float) -> list[Finding]:
    """Calls made again in another process and order: those that are paid another value."""
    texts = [t for t in tried if t.attempt.attack not in EPISODES and not (bench.episodes and _is_gold(t))]
    calls = [t for t in texts if not t.outcome.problem and len(t.attempt.text) < 20_000 and t.outcome.seconds < 0.1]
    # Right answers are few among them and matter most.
    rights = [t for t in calls if _is_gold(t)][:AGAIN]
    calls = [*rights, *calls[:: max(1, len(calls) // AGAIN)]][::-1]
    deadline = time.perf_counter() + budget
    changed: list[tuple[Tried, Outcome]] = []
    count = 0
    for position, outcome in bench.outcomes([(t.attempt.text, t.target) for t in calls]):
        count += 1
        if outcome.value != calls[position].outcome.value:
            changed.append((calls[position], outcome))
        if time.perf_counter() > deadline:
            break
    if not changed:
        return []
    examples = tuple(
        f"{example(t)}; again: {'no value' if again.value is None else f'{again.value:g}'}" for t, again in changed[:3]
    )
    return [Finding("determinism", True, f"{len(changed)} of {count} completions earn another value again", examples)]
