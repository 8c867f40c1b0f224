"""`journeyman bench train`: seconds until a run has gained 0.12 on validation, beside stock TRL with the same config.

Always true here: both sides start from the same base and adapter, draw the same prompts, pay the same rewards and make as
many steps; the clock stands still while either is measured, with the same engine, every ten steps. Stock is TRL's
GRPOTrainer as it comes, with the generation, scoring and update of its own.
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

GAIN, EVERY = 0.12, 10


def run(rounds: int = 5, job: str = "arithmetic", max_steps: int | None = None) -> dict[str, Any]:
    """Print a table and return the figures.

    Args:
        rounds: seeds, each of them trained by both sides in turn.
        job: a shipped job's name or the path of a YAML file.
        max_steps: steps of every run; those of the job where None.
    """
    pairs = []
    for seed in range(rounds):
        pair = [_side(side, job, seed, max_steps) for side in (("ours", "peer") if seed % 2 else ("peer", "ours"))]
        pairs.append({side["side"]: side for side in pair})
        for side in ("ours", "peer"):
            found = pairs[-1][side]
            shares = "  ".join(f"{name} {100 * share:.0f}%" for name, share in found["phases"].items())
            print(
                f"seed {seed} {side:<5} base {found['base']:.3f}, + {GAIN} after {found['seconds'] or float('nan'):6.1f} s "
                f"(step {found['step']}), {found['total']:.1f} s in all, held-out {found['heldout']:.3f}   {shares}",
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
        "heldout": {side: [pair[side]["heldout"] for pair in pairs] for side in ("ours", "peer")},
        "difference": _difference([pair["ours"]["heldout"] - pair["peer"]["heldout"] for pair in pairs]),
        "compared": f"seconds to base + {GAIN} on validation, measured every {EVERY} steps off the clock; stock GRPOTrainer",
    }  # fmt: skip
    if ratios:
        print(f"{result['ratio']:.2f} times as fast to base + {GAIN} (median of {len(ratios)} seeds)")
    print("held-out, ours - stock: {:+.3f} [{:+.3f}, {:+.3f}] (95% interval over seeds)".format(*result["difference"]))
    return result


def _difference(each: list[float]) -> list[float]:
    """[mean, low, high] of the seeds' differences, by Student's t: what the sampling of a whole run adds is between seeds."""
    from scipy.stats import t

    mean = statistics.mean(each)
    if len(each) < 2:
        return [mean, float("-inf"), float("inf")]
    half = float(t.ppf(0.975, len(each) - 1)) * statistics.stdev(each) / len(each) ** 0.5
    return [mean, mean - half, mean + half]


def _side(side: str, job: str, seed: int, max_steps: int | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        words = [
            sys.executable,
            "-m",
            "journeyman.recipes.bench_train",
            side,
            job,
            str(seed),
            str(max_steps or 0),
            folder,
        ]
        subprocess.run(
            words, stdout=subprocess.DEVNULL, check=True, env={**os.environ, "TRL_EXPERIMENTAL_SILENCE": "1"}
        )
        found: dict[str, Any] = json.loads((Path(folder) / "found.json").read_text())
    return found


def _train(side: str, job: str, seed: int, max_steps: int, folder: Path) -> None:
    """One side's run, in this process; the figures go into `folder`."""
    import torch
    import transformers
    from datasets import Dataset
    from peft import get_peft_model
    from transformers import TrainerCallback
    from trl import GRPOTrainer

    from ..evals.measure import measure, sampling_of
    from ..rewards.executor import Executor
    from ..rollouts.chat import end_ids
    from ..rollouts.collect import Batch
    from ..rollouts.pool import Pool
    from ..rollouts.transformers_engine import TransformersEngine
    from ..trainers.config import load_config
    from ..trainers.grpo import Trainer
    from ..trainers.models import base_path, load_base
    from ..trainers.rolling import context_length
    from .preflight import prepare

    over: dict[str, Any] = {"seed": seed, "output_dir": str(folder), "report_to": "none", "save_strategy": "no"}
    config = load_config(job, {**over, **({"max_steps": max_steps} if max_steps else {})})
    base_path(config, config.environment())
    args = config.grpo()
    prepared = prepare(config)
    model, chat, _ = load_base(config, prepared.env)
    transformers.set_seed(seed)
    model = get_peft_model(model, config.lora)
    if side == "ours":
        trainer: Any = Trainer(
            model, args, env=prepared.env, rows=prepared.train, executor=prepared.executor, quality=prepared.quality,
            chat=chat, run="bench", records=folder / "records",
        )  # fmt: skip
    else:
        args.reward_weights = [reward.weight for reward in prepared.executor.rewards]
        columns = {key: [row[key] for row in prepared.train] for key in prepared.train[0]}
        trainer = GRPOTrainer(
            model=model, args=args, reward_funcs=list(prepared.executor.rewards), train_dataset=Dataset.from_dict(columns),
            processing_class=chat.tokenizer,
        )  # fmt: skip

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

    found: dict[str, Any] = {"side": side, "seconds": None, "step": None, "base": quality(prepared.validation)}

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

    clock, phases = Clock(), {"generate": 0.0, "generate and score": 0.0}
    trainer.add_callback(clock)
    parts = {"_generate": "generate", "_collect": "generate", "_generate_and_score_completions": "generate and score"}
    if side == "ours":
        del parts["_generate"]
    for name, phase in parts.items():
        if hasattr(trainer, name):
            setattr(trainer, name, _timed(getattr(trainer, name), phases, phase))
    trainer.train()
    total = clock.spent
    found["total"] = total
    found["phases"] = {
        "generation": phases["generate"] / total,
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
    _train(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
