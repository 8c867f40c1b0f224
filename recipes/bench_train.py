"""`journeyman bench train`: seconds until a run has gained 0.12 on validation, beside stock TRL with the same config.

Always true here: all sides start from the same base and adapter, draw the same prompts, pay the same rewards and make as
many steps; the clock stands still while any is measured, with the same engine, every ten steps. Stock is TRL's GRPOTrainer
as it comes, with the generation, scoring and update of its own. With `--engine vllm` stock samples from its colocated vLLM,
ours from the one in its process, and a third side is ours with the engine that shares the trainer's weights.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ..configs import BadInput
from ..configs.lifeline import tied

GAIN, EVERY = 0.12, 10
SIDES = {"transformers": ("ours", "peer"), "vllm": ("ours", "peer", "transformers")}
"""engine -> the sides that take turns; the last is ours with the other engine."""


def run(
    rounds: int = 5, job: str = "arithmetic", max_steps: int | None = None, engine: str = "transformers"
) -> dict[str, Any]:
    """Print a table and return the figures.

    Args:
        rounds: seeds, each of them trained by both sides in turn.
        job: a shipped job's name or the path of a YAML file.
        max_steps: steps of every run; those of the job where None.
        engine: transformers, or vllm for both sides.
    """
    if engine not in SIDES:
        raise BadInput(f"there is no engine '{engine}' here (there are {', '.join(SIDES)})")
    sides = SIDES[engine]
    pairs = []
    for seed in range(rounds):
        order = [*sides[seed % len(sides) :], *sides[: seed % len(sides)]]
        pairs.append({side: _side(side, job, seed, max_steps, engine) for side in order})
        for side in sides:
            found = pairs[-1][side]
            shares = "  ".join(f"{name} {100 * share:.0f}%" for name, share in found["phases"].items())
            print(
                f"seed {seed} {side:<12} start {found['start']:.1f} s, base {found['base']:.3f}, + {GAIN} after "
                f"{found['seconds'] or float('nan'):.1f} s (step {found['step']}), {found['total']:.1f} s in all "
                f"({found['step_s']:.2f} s a step), "
                f"held-out {found['heldout']:.3f}   {shares}",
                flush=True,
            )
    reached = [pair for pair in pairs if pair["ours"]["seconds"] and pair["peer"]["seconds"]]
    ratios = [pair["peer"]["seconds"] / pair["ours"]["seconds"] for pair in reached]
    medians = (
        {side: statistics.median([p[side]["seconds"] for p in reached]) for side in ("ours", "peer")} if reached else {}
    )
    result = {
        "bench": "train", "shape": job, "ours_s": medians.get("ours"), "peer_s": medians.get("peer"),
        "ratio": statistics.median(ratios) if ratios else None, "ratios": ratios, "seeds": rounds,
        "ratio_all_steps": statistics.median(p["peer"]["total"] / p["ours"]["total"] for p in pairs),
        "ratio_whole_run": statistics.median(_whole(p["peer"]) / _whole(p["ours"]) for p in pairs), "engine": engine,
        "whole_run_s": {side: statistics.median(_whole(pair[side]) for pair in pairs) for side in sides},
        "step_s": {side: statistics.median(pair[side]["step_s"] for pair in pairs) for side in sides},
        "phases": {side: _mean([pair[side]["phases"] for pair in pairs]) for side in sides},
        "heldout": {side: [pair[side]["heldout"] for pair in pairs] for side in sides},
        "difference": _difference([pair["ours"]["heldout"] - pair["peer"]["heldout"] for pair in pairs]),
        "compared": f"seconds to base + {GAIN} on validation, measured every {EVERY} steps off the clock; stock GRPOTrainer",
    }  # fmt: skip
    print(f"{result['ratio_whole_run']:.2f} times as fast over the whole run, the engine's start included")
    print("seconds a step: " + ", ".join(f"{side} {seconds:.2f}" for side, seconds in result["step_s"].items()))
    if ratios:
        print(f"{result['ratio']:.2f} times as fast to base + {GAIN} (median of {len(ratios)} seeds)")
    for other in sides[1:]:
        difference = _difference([pair["ours"]["heldout"] - pair[other]["heldout"] for pair in pairs])
        print("held-out, ours - {}: {:+.3f} [{:+.3f}, {:+.3f}] (95% interval over seeds)".format(other, *difference))
    return result


def _difference(each: list[float]) -> list[float]:
    """[mean, low, high] of the seeds' differences, by Student's t: what the sampling of a whole run adds is between seeds."""
    from scipy.stats import t

    mean = statistics.mean(each)
    if len(each) < 2:
        return [mean, float("-inf"), float("inf")]
    half = float(t.ppf(0.975, len(each) - 1)) * statistics.stdev(each) / len(each) ** 0.5
    return [mean, mean - half, mean + half]


def _whole(side: dict[str, Any]) -> float:
    return float(side["start"] + side["total"])


def _mean(shares: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.mean(each[name] for each in shares) for name in shares[0]}


def _side(side: str, job: str, seed: int, max_steps: int | None, engine: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        words = [
            sys.executable,
            "-m",
            "journeyman.recipes.bench_train",
            side,
            job,
            str(seed),
            str(max_steps or 0),
            engine,
            folder,
        ]
        subprocess.run(
            tied(words), stdout=subprocess.DEVNULL, check=True, env={**os.environ, "TRL_EXPERIMENTAL_SILENCE": "1"}
        )
        found: dict[str, Any] = json.loads((Path(folder) / "found.json").read_text())
    return found


def _train(side: str, job: str, seed: int, max_steps: int, engine: str, folder: Path) -> None:
    """One side's run, in this process; the figures go into `folder`."""
    import torch
    import transformers
    from datasets import Dataset
    from peft import get_peft_model
    from transformers import TrainerCallback
    from trl import GRPOTrainer

    from ..envs.core import tools_of
    from ..evals.measure import measure, sampling_of
    from ..rewards.executor import Executor
    from ..rollouts.chat import end_ids
    from ..rollouts.collect import Batch
    from ..rollouts.pool import Pool
    from ..rollouts.transformers_engine import TransformersEngine
    from ..trainers.config import load_config
    from ..trainers.engines import plan_of
    from ..trainers.grpo import Trainer
    from ..trainers.models import base_path, load_base
    from ..trainers.rolling import context_length
    from .bench_trainers import stock_environment, stock_vllm
    from .preflight import prepare

    over: dict[str, Any] = {"seed": seed, "output_dir": str(folder), "report_to": "none", "save_strategy": "no"}
    config = load_config(job, {**over, **({"max_steps": max_steps} if max_steps else {})})
    base_path(config, config.environment())
    vllm = engine == "vllm" and side != "transformers"
    if vllm:
        config.trainer["use_vllm"] = True
    args = config.arguments()
    prepared = prepare(config)
    model, chat, _ = load_base(config, prepared.env)
    transformers.set_seed(seed)
    model = get_peft_model(model, config.lora)
    began = time.perf_counter()
    if side != "peer":
        trainer: Any = Trainer(
            model, args, env=prepared.env, rows=prepared.train, executor=prepared.executor, quality=prepared.quality,
            chat=chat, run="bench", records=folder / "records",
            plan=plan_of(config, args, prepared.env, context_length(model.config) or 4096),
        )  # fmt: skip
        _ = trainer.engine  # started, by the clock
    else:
        if vllm:
            stock_vllm()
        args.reward_weights = [reward.weight for reward in prepared.executor.rewards]
        flat = [
            key for key, value in prepared.train[0].items() if key == "prompt" or not isinstance(value, dict | list)
        ]
        columns = {key: [row[key] for row in prepared.train] for key in flat}
        tools: dict[str, Any] = {}
        if tools_of(prepared.env):
            args.max_tool_calling_iterations = prepared.env.limits.turns - 1
            tools["environment_factory"] = stock_environment(prepared.env, prepared.train)
        trainer = GRPOTrainer(
            model=model, args=args, reward_funcs=list(prepared.executor.rewards), train_dataset=Dataset.from_dict(columns),
            processing_class=chat.tokenizer, **tools,
        )  # fmt: skip
        # TRL lists an environment's tools by the alphabet; the policy knows them in the order of the class.
        names = [tool.__name__ for tool in tools_of(prepared.env)]
        for listed in getattr(trainer, "_env_tools", {}).values():
            listed.sort(key=lambda tool: names.index(tool.__name__))
    started = time.perf_counter() - began

    def quality(rows: list[Any]) -> float:
        engine = TransformersEngine(
            trainer.model, chat.tokenizer.pad_token_id, end_ids(chat.tokenizer, model.generation_config)
        )
        rollouts = measure(
            engine, chat, Pool(prepared.env), rows, Executor(prepared.executor.rewards), prepared.quality,
            sampling_of(config.evaluation, config.max_tokens), Batch("bench", 0, "validation", seed),
            context=context_length(model.config),
        )  # fmt: skip
        trainer.model.train()
        return statistics.mean(float(r.quality) for r in rollouts if r.quality is not None)

    found: dict[str, Any] = {
        "side": side,
        "seconds": None,
        "step": None,
        "start": started,
        "base": quality(prepared.validation),
    }

    class Clock(TrainerCallback):
        """Stands still while the policy is measured."""

        spent, since = 0.0, 0.0

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.since = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.spent += time.perf_counter() - self.since
            if state.global_step % EVERY == 0 and found["seconds"] is None:
                with torch.random.fork_rng():
                    if quality(prepared.validation) >= found["base"] + GAIN:
                        found["seconds"], found["step"] = self.spent, state.global_step
            self.since = time.perf_counter()

    clock, phases = Clock(), {"sync": 0.0, "generate": 0.0, "generate and score": 0.0}
    trainer.add_callback(clock)
    stock = side == "peer"
    timed = [
        (trainer, "_generate" if stock else "_collect", "generate"),
        (trainer, "_generate_and_score_completions", "generate and score"),
    ]
    timed += (
        [(trainer.vllm_generation, "sync_weights", "sync")]
        if stock and vllm
        else []
        if stock
        else [(trainer, "sync", "sync")]
    )
    for owner, name, phase in timed:
        setattr(owner, name, _timed(getattr(owner, name), phases, phase))
    trainer.train()
    total = clock.spent
    found["total"], found["step_s"] = total, total / trainer.state.global_step
    found["phases"] = {
        "sync": phases["sync"] / total,
        "generation": (phases["generate"] - phases["sync"]) / total,
        "rewards and the rest": (phases["generate and score"] - phases["generate"]) / total,
        "update": 1 - phases["generate and score"] / total,
    }
    found["heldout"] = quality(prepared.env.tasks("heldout", seed, config.job.heldout_rows))
    (folder / "found.json").write_text(json.dumps(found))


def _timed(function: Any, phases: dict[str, float], name: str) -> Any:
    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            phases[name] += time.perf_counter() - began

    return timed


if __name__ == "__main__":
    _train(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5], Path(sys.argv[6]))
