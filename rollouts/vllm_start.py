"""From a plan to a vLLM engine that is proved to sample from the trainer's policy; `auto` tries both ways and takes the faster.

Always true here: an engine that leaves this file has passed `proof.prove`; why it syncs as it does is said in its facts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ..configs.errors import BadInput
from .engine import Request, Sampling, complete_all
from .proof import prove
from .servers import ServersEngine
from .vllm_engine import VllmEngine
from .vllm_sync import AdapterSync, MergedSync, obstacles

Way = Literal["auto", "adapter", "merged"]
WAYS: tuple[Way, ...] = ("adapter", "merged")
TRIAL_ROWS, TRIAL_TOKENS = 64, 32
"""Requests, and tokens of each, by which decoding is timed."""
PROOF_TOKENS = 300
"""Of the start-up proof's prompts: two blocks of vLLM's prefix cache on a CPU, more on a GPU."""


@dataclass(frozen=True)
class Plan:
    """What engine a run wants.

    Args:
        path: folder or Hub id of the base.
        context: most tokens the model can read.
        rows: most requests decoded at once.
        step_tokens: most tokens that a step generates on this rank: what a slower decoding is multiplied by.
        options: fields of vLLM's `EngineArgs`.
        servers: addresses of vLLM servers in place of a vLLM in this process; `folder`, `timeout` and `patience` are theirs.
    """

    path: str
    dtype: str
    way: Way
    context: int
    rows: int
    step_tokens: int
    options: dict[str, Any] = field(default_factory=dict)
    servers: tuple[str, ...] = ()
    folder: Path | None = None
    timeout: float = 600.0
    patience: float = 600.0


@dataclass(frozen=True)
class Speed:
    """One way, timed: seconds of a sync, and tokens a second under the adapter."""

    sync_s: float
    tokens_per_s: float
    bytes: int

    def step(self, tokens: int) -> float:
        """Seconds of a step that generates `tokens`."""
        return self.sync_s + tokens / self.tokens_per_s


def start(
    plan: Plan, model: Any, eos_ids: Sequence[int], prompts: Sequence[Sequence[int]]
) -> tuple[VllmEngine | ServersEngine, dict[str, Any]]:
    """The engine of `plan` for the adapter of `model` (PEFT), and what was found on the way, for run.json.

    Args:
        prompts: some of the job's, two of them different.

    Raises:
        BadInput: no way takes this adapter, or vLLM refuses the options.
        SyncFailed: see `proof.prove`.
    """
    proof = proof_prompts(prompts, plan.context)
    if plan.servers:
        possible(replace(plan, way="adapter"), model)
        servers = ServersEngine(plan.servers, eos_ids, folder=plan.folder, timeout=plan.timeout, patience=plan.patience)
        try:
            agreement = prove(servers, model, proof)
        except BaseException:
            servers.close()
            raise
        return servers, {"engine": "vllm servers", "sync": "adapter", **agreement.as_dict()}
    ways, facts = possible(plan, model), {}
    engine: VllmEngine | None = None
    speeds: dict[Way, Speed] = {}
    for way in ways if len(ways) > 1 else ():
        if engine is not None:
            engine.close()
        engine = _engine(plan, way, model, eos_ids)
        speeds[way] = timed(engine, model, prompts)
    best = min(ways, key=lambda way: speeds[way].step(plan.step_tokens) if speeds else 0.0)
    if speeds:
        facts["why"] = "; ".join(
            f"{way}: sync {speed.sync_s:.3f} s, {speed.tokens_per_s:,.0f} tokens/s, {speed.step(plan.step_tokens):.2f} s for a "
            f"step of {plan.step_tokens:,} tokens"
            for way, speed in speeds.items()
        )
    if engine is None or engine.way.name != best:
        if engine is not None:
            engine.close()
        engine = _engine(plan, best, model, eos_ids)
    agreement = prove(engine, model, proof)
    return engine, {"engine": "vllm", "sync": best, **facts, **agreement.as_dict()}


def possible(plan: Plan, model: Any) -> list[Way]:
    """The ways that the plan allows and the adapter fits.

    Raises:
        BadInput: none.
    """
    wanted = WAYS if plan.way == "auto" else (plan.way,)
    against = {way: obstacles(model, way) for way in wanted}
    ways = [way for way in wanted if not against[way]]
    if not ways:
        reasons = "; ".join(f"{way}: {reason}" for way, reason in against.items())
        raise BadInput(f"use_vllm: vLLM can't take this adapter ({reasons}); change `lora`, or set use_vllm: false")
    return ways


def timed(engine: VllmEngine, model: Any, prompts: Sequence[Sequence[int]]) -> Speed:
    """A sync and some decoding, each once to warm up and once by the clock."""
    speed = Speed(0.0, 1.0, 0)
    for trial in (1, 2):
        began = time.perf_counter()
        engine.sync(model, -2 - trial)
        synced = time.perf_counter()
        requests = [Request(prompts[row % len(prompts)], (0, trial, row)) for row in range(TRIAL_ROWS)]
        made = complete_all(engine, requests, Sampling(TRIAL_TOKENS))
        seconds = time.perf_counter() - synced
        speed = Speed(synced - began, sum(len(c.ids) for c in made) / seconds, engine.synced_bytes)
    return speed


def _engine(plan: Plan, way: Way, model: Any, eos_ids: Sequence[int]) -> VllmEngine:
    ranks = [m.lora_A["default"].weight.shape[0] for m in model.modules() if "default" in getattr(m, "lora_A", {})]
    sync = AdapterSync(max(ranks)) if way == "adapter" else MergedSync()
    return VllmEngine(plan.path, eos_ids, sync, dtype=plan.dtype, rows=plan.rows, options=plan.options)


def proof_prompts(prompts: Sequence[Sequence[int]], context: int) -> list[list[int]]:
    """Two different prompts of the job, repeated until they fill blocks of a prefix cache, or half of the model's context."""
    most = min(PROOF_TOKENS, context // 2)
    different = [list(ids) for ids in dict.fromkeys(tuple(ids) for ids in prompts)][:2]
    if len(different) == 1:
        different.append(different[0][::-1])
    return [(ids * (most // len(ids) + 1))[:most] for ids in different]
