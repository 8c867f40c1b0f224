"""What is on the bench: a reward, its tasks, the environment they come from, and how a completion is put to it.

Invariants: a completion is scored as a run scores one: with the row's columns, the environment that the rollout ended in, and
for a job with tools the messages of a whole episode before it.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..envs.core import Environment, Row, tools_of
from ..rewards.attempts import Expect, Target
from ..rewards.core import Reward, Scored
from .audit_calls import Outcome, outcomes
from .audit_episodes import LENT, Stage, play_episodes
from .audit_evidence import Facts, Finding, Tried
from .audit_rules import best_guess
from .audit_targets import environment_targets, oracle_findings, oracle_of

_PIECES = re.compile(r"\s?[^\W_]{1,16}|\s|[^\s]")

Call = tuple[str, Target]
"""A completion, and the task that it answers."""


@dataclass
class Bench:
    """A reward and what it is tried on.

    Args:
        env: None for worked cases.
        seconds: what a call may take.
        episodes: what came of the episodes, where the environment has tools.
        reasons: attack -> why it can't be tried.
        says_nothing: whether the last message is read by nobody, so that no texts are tried.
        findings: what is known before any call.
    """

    reward: Reward
    env: Environment | None
    targets: list[Target]
    seconds: float
    episodes: list[Tried] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    says_nothing: bool = False
    findings: list[Finding] = field(default_factory=list)
    _before: dict[int, Sequence[Any]] = field(default_factory=dict)

    @classmethod
    def of_environment(cls, reward: Reward, env: Environment, rows: Sequence[Row], seconds: float) -> Bench:
        """The rows of an environment, with what its oracle answers; of one with tools, the episodes give the answers."""
        if tools_of(env):
            return cls(reward, env, [Target(row) for row in rows], seconds)
        found = [oracle_of(env, row) for row in rows]
        reasons = [reason for _, reason in found]
        bench = cls(reward, env, environment_targets(env, rows, [texts for texts, _ in found]), seconds)
        bench.findings = oracle_findings(reasons)
        if all(reasons):
            bench.reasons["gold"] = (
                f"the oracle gives no right answer on any of {len(rows)} rows ({reasons[0].removeprefix('raised ')})"
            )
        return bench

    def play(self, names: Sequence[str], deadline: float) -> None:
        """Play the episodes; their last messages are then what texts are tried in place of."""
        assert self.env is not None
        stage = Stage(self.reward, self.env, [dict(target.row) for target in self.targets], self.seconds)
        played = play_episodes(stage, names, deadline)
        self.episodes, self.reasons = played.tried, {**self.reasons, **played.reasons}
        self.findings += played.findings
        asked = self.reward.columns()
        self.says_nothing = "environment" in asked or "environments" in asked or not any(played.said)
        rights = [[said] if said else [] for said in played.said]
        rows = [dict(target.row) for target in self.targets]
        self.targets = environment_targets(self.env, rows, rights, asks_once=False)
        self._before = {i: before for i, before in enumerate(played.before)}
        self.episodes = [dataclasses.replace(t, target=self.targets[t.task]) for t in self.episodes]

    def with_full(self, tried: Sequence[Tried]) -> list[Tried]:
        """`tried` with full marks for what the best right answer of an environment earns; a price pays 0 at best."""
        golds = [t.outcome.value for t in tried if t.attempt.expect is Expect.FULL and t.outcome.value is not None]
        if self.env is None or not golds or not (max(golds) > 0 or not self.reward.needs_reference):
            return list(tried)
        self.targets = [dataclasses.replace(target, full=max(golds)) for target in self.targets]
        return [dataclasses.replace(t, target=dataclasses.replace(t.target, full=max(golds))) for t in tried]

    def facts(self, tried: Sequence[Tried]) -> Facts:
        """What the rules need to know of the reward and the tasks."""
        reads_episode = bool(self.episodes) and not {"environment", "step_rewards"}.isdisjoint(self.reward.columns())
        guess = best_guess(self.targets)
        if self.episodes and len({target.right for target in self.targets}) < 2:
            # All episodes end in the same words: what tells tasks apart is what was done.
            ways = Counter(t.attempt.text for t in self.episodes if t.attempt.expect is Expect.FULL)
            guess = max(ways.values()) / ways.total() if ways else 0.0
        # Another task's episode may be right here by luck; where it mostly is, that is no luck.
        lent = [t.paid for t in tried if t.attempt.kind == LENT]
        luck = sum(lent) / len(lent) if lent else 0.0
        guess = max(guess, luck if luck <= 0.5 else 0.0)
        needs = self.reward.needs_reference
        return Facts(needs, self.env is None, guess, needs or reads_episode)

    def outcomes(self, calls: Sequence[Call]) -> Iterator[tuple[int, Outcome]]:
        """Score each completion; yields (number, outcome) as they finish."""
        first = self.targets[0]
        honest = self._scored(first.right[0] if first.right else "", first)
        yield from outcomes(self.reward, [self._scored(*call) for call in calls], self.seconds, first=honest)

    def _scored(self, text: str, target: Target) -> Scored:
        number = next((i for i, known in enumerate(self.targets) if known.row is target.row), -1)
        before = self._before.get(number, ())
        ids = token_ids(text) if "completion_ids" in self.reward.columns() else []
        said = [*before, {"role": "assistant", "content": text}]
        return Scored({"prompt": [], **target.row}, said, ids, environment=self.env)


def token_ids(text: str) -> list[int]:
    """Numbers in place of token ids, for rewards that count them: one for each word or sign, equal for equal ones."""
    known: defaultdict[str, int] = defaultdict(lambda: len(known))
    return [known[piece] for piece in _PIECES.findall(text)]
