"""What an audit tries a reward on: a target for each worked case, or for each row of an environment with its oracle's answer.

Invariants: no torch; a row whose oracle gives no answer stays in, without a right one, and the reason is kept.
"""

from __future__ import annotations

import difflib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..configs.errors import BadInput
from ..envs.core import Environment, Row, Rows, tools_of
from ..rewards.alike import altered, plain
from ..rewards.attacks_on_documents import fixed_documents, parsed
from ..rewards.attempts import Target
from ..rewards.call import PROVIDED
from ..rewards.cases import Case
from ..rewards.core import Reward
from .audit_evidence import Finding
from .audit_sources import SPLITS

OPTIONS = ("options", "choices", "labels")
"""Columns that list the answers a task offers."""
MOST_OTHERS = 40
TWINS = 10
"""Rows that share a prompt with another one, tried beyond those that were asked for."""


def case_targets(cases: Sequence[Case]) -> list[Target]:
    """A target for each worked case; its alternatives are its own answer altered, else those of cases with its columns."""
    targets = []
    for case in cases:
        like = [other for other in cases if other.row.keys() == case.row.keys()]
        others = others_of(like.index(case), [list(other.right) for other in like])
        own = case.right and altered(case.right[0])  # another case may ask for another form
        targets.append(
            Target(
                case.row,
                tuple(case.right),
                tuple(case.wrong),
                () if own else others,
                options_of(case.row),
                full=case.full,
            )
        )
    return targets


def environment_targets(
    env: Environment, rows: Sequence[Row], rights: Sequence[Sequence[str]], asks_once: bool = True
) -> list[Target]:
    """A target for each row; without a right answer where the oracle gives none.

    Args:
        rights: right completions of each row.
        asks_once: whether the prompt is all that a policy sees of its task: then rows with one prompt are compared.
    """
    labels = tuple(map(str, getattr(env, "labels", None) or ()))
    fixed = fixed_documents([parsed(right[0]) for right in rights if right])
    targets = [
        Target(row, tuple(rights[i]), (), others_of(i, rights), options_of(row) or labels, fixed=fixed)
        for i, row in enumerate(rows)
    ]
    return _with_twins(env, targets) if asks_once else targets


def _with_twins(env: Environment, targets: list[Target]) -> list[Target]:
    """`targets` with what rows of the same prompt have for a right answer; a fixed list of rows is looked through as a whole."""
    everything = _all_rows(env) if isinstance(env, Rows) else [target.row for target in targets]
    groups: dict[str, dict[str, tuple[Row, str]]] = defaultdict(dict)
    for row in everything:
        for right in oracle_of(env, dict(row))[0]:
            groups[repr(row["prompt"])].setdefault(plain(right), (dict(row), right))
    clashing = {prompt: found for prompt, found in groups.items() if len(found) > 1}
    known = {id(target): _twins(target, clashing) for target in targets}
    made = [replace(target, twins=known[id(target)]) for target in targets]
    here = {repr(target.row["prompt"]) for target in targets}
    for prompt, found in clashing.items():
        if prompt not in here and len(made) < len(targets) + TWINS:
            row, right = next(iter(found.values()))
            target = Target(row, (right,), options=options_of(row))
            made.append(replace(target, twins=_twins(target, clashing)))
    return made


def _all_rows(env: Rows) -> list[Row]:
    """Every row of the split that rows are taken from."""
    return next((rows for split in SPLITS if (rows := env.tasks(split, 0))), [])


def _twins(target: Target, clashing: Mapping[str, Mapping[str, tuple[Row, str]]]) -> tuple[str, ...]:
    own = {plain(text) for text in target.right}
    found = clashing.get(repr(target.row["prompt"]), {})
    return tuple(right for key, (_, right) in found.items() if own and key not in own)


def oracle_of(env: Environment, row: Row) -> tuple[list[str], str]:
    """The oracle's completion, and no reason; or an empty list, and why there is none."""
    try:
        found = env.oracle(row)
    except (BadInput, KeyError, NotImplementedError) as error:
        return [], f"{type(error).__name__}: {error}"
    except Exception as error:  # a fault of the environment's, and nothing to audit a reward by
        return [], f"raised {type(error).__name__}: {error}"
    return ([found], "") if isinstance(found, str) else ([], f"raised no text: it gave {found!r:.60}")


def oracle_findings(reasons: Sequence[str]) -> list[Finding]:
    """What the oracle's failures come to: a defect of the environment where it broke, a note where it knows only some rows.

    Args:
        reasons: one a row; empty where the oracle answered.
    """
    broke = [reason.removeprefix("raised ") for reason in reasons if reason.startswith("raised ")]
    silent = [reason for reason in reasons if reason and not reason.startswith("raised ")]
    findings = []
    for failed, defect, what in ((broke, True, "breaks"), (silent, False, "gives no right answer")):
        if failed and (defect or len(failed) < len(reasons)):
            (reason, _), *_ = Counter(failed).most_common(1)
            message = (
                f"the oracle {what} on {len(failed)} of {len(reasons)} rows ({reason}): nothing right is tried there"
            )
            findings.append(Finding("gold", defect, message))
    return findings


def others_of(i: int, rights: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Right completions of the tasks after and before task `i`, each different from its own and from one another."""
    own = {plain(text) for text in rights[i]}
    found: dict[str, str] = {}
    for right in (*rights[i + 1 :], *rights[:i]):
        for text in right[:1]:
            if plain(text) not in own and len(found) < MOST_OTHERS:
                found.setdefault(plain(text), text)
    return tuple(found.values())


def options_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The answers that a row offers."""
    for name in OPTIONS:
        value = row.get(name)
        if isinstance(value, list | tuple) and all(isinstance(option, str) for option in value):
            return tuple(value)
    return ()


def check_cases(reward: Reward, cases: Sequence[Case]) -> None:
    """Raise BadInput where a worked case lacks a column that the reward asks for, or is not what a case is."""
    for number, case in enumerate(cases, 1):
        where = f"case {number} of reward '{reward.name}'"
        if missing := reward.missing([*case.row, "prompt"]):
            raise BadInput(f"{where} lacks the column '{missing[0]}' that it asks for")
        for name, texts in (("right", case.right), ("wrong", case.wrong)):
            if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
                raise BadInput(f"{where}: {name} is {texts!r:.60}; it should be a list of texts: {name}=['42']")
        if both := [text for text in case.right if text in case.wrong]:
            raise BadInput(f"{where} lists {both[0]!r:.60} as right and as wrong; take it out of one of them")


def check_fit(reward: Reward, env: Environment, rows: Sequence[Row]) -> None:
    """Raise BadInput where the reward asks for a column that a row lacks."""
    for number, row in enumerate(rows):
        if missing := reward.missing([*row, "step_rewards"] if tools_of(env) else list(row)):
            which = "the rows" if number == 0 else f"row {row.get('index', number)}"
            raise BadInput(
                f"reward '{reward.name}' asks for the column '{missing[0]}', which {which} of {type(env).__name__} "
                f"lack{'' if number == 0 else 's'} (they have {', '.join(rows[0])})"
            )


def gaps_of(reward: Reward, targets: Sequence[Target]) -> dict[str, str]:
    """What calls by the audit differ in from those of a run, and arguments that no column ever fills."""
    gaps = {}
    if reward.kind == "group":
        gaps["groups"] = "the reward sees a group; each completion is tried as a group of one"
    if reward.columns().get("completion_ids") is not None:
        gaps["token ids"] = (
            "there is no tokenizer here; the words and signs of a completion are numbered in their place"
        )
    columns = {name for target in targets for name in target.row}
    for name, required in reward.columns().items():
        if (
            not required
            and name not in columns
            and name not in PROVIDED
            and (near := difflib.get_close_matches(name, columns, 1, 0.75))
        ):
            gaps[f"the column '{name}'"] = f"no row has it, so its default is always taken; did you mean '{near[0]}'?"
    return gaps
