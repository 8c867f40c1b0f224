"""GRPO on TRL's trainer, cut in at one place: where a batch is generated and scored.

Always true here: the loss, the optimizer and every `GRPOConfig` field are TRL's; rollouts come from our engine, rewards
from our scoring, and each rollout is in the record file before its batch is trained on. The batch keeps its order, so
groups stay whole.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from datasets import Dataset
from transformers import TrainerState
from trl import GRPOConfig
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.utils import split_tensor_dict, use_adapter

from ..envs.core import Environment, Row, pays_steps, tools_of
from ..envs.core import Limits as RolloutLimits
from ..rewards.executor import Executor, RewardsFailed
from ..rewards.scores import Scores
from ..rollouts.chat import Chat
from ..rollouts.collect import Batch, OnFinished, collecting
from ..rollouts.engine import Sampling, run_async
from ..rollouts.pool import Pool
from ..rollouts.proof import BOUNDS
from ..rollouts.record import RecordWriter, Rollout, StopReason
from ..rollouts.scoring import scored_rollouts
from ..rollouts.vllm_start import Plan
from .advantages import advantages, permuted
from .ahead import Ahead, Made, RollsAhead
from .checkpoints import SafeCheckpoints
from .layout import dealt
from .refill import dead_groups, other_rows, swap
from .rolling import context_length
from .tensors import joined, reused, tensors
from .trl_trainer import GRPOTrainer
from .update import LeanUpdate, live_of, selected


class Trainer(LeanUpdate, SafeCheckpoints, RollsAhead, GRPOTrainer):
    """TRL's GRPOTrainer over an environment.

    Args:
        rows: the training tasks; the sampler draws from them, each `num_generations` times.
        quality: name of the reward that goes into the records as the job's own measure.
        run: the run's name in its records.
        records: folder of the record files.
        limits: what a rollout may use, in place of the environment's own.
        plan: the vLLM engine to sample from; the trainer's own weights where None.
        shuffle_rewards: permute rewards within each group (the control of a proof).
        dynamic_sampling: rounds in which groups without a signal are replaced by others; 0 for none.
        ahead: generate the next batch while this one trains; for an engine that works elsewhere.
    """

    args: Any
    num_generations: int
    max_completion_length: int
    _buffered_inputs: Any

    def __init__(
        self,
        model: Any,
        args: GRPOConfig,
        *,
        env: Environment,
        rows: Sequence[Row],
        executor: Executor,
        quality: str,
        chat: Chat,
        run: str,
        records: Path,
        limits: RolloutLimits | None = None,
        plan: Plan | None = None,
        shuffle_rewards: bool = False,
        dynamic_sampling: int = 0,
        ahead: bool = False,
        **kwargs: Any,
    ) -> None:
        # Rows are looked up by number: what a row holds never goes through Arrow, which would fill in and reorder.
        dataset = Dataset.from_dict({"prompt": [row["prompt"] for row in rows], "number": list(range(len(rows)))})
        own = copy.copy(args)
        own.use_vllm = False  # TRL would start a vLLM of its own
        super().__init__(
            model=model, reward_funcs=list(executor.rewards), args=own, train_dataset=dataset,
            processing_class=chat.tokenizer, **kwargs,
        )  # fmt: skip
        self.env, self.rows, self.executor, self.quality, self.chat = env, list(rows), executor, quality, chat
        self.pool, self.rollout_limits = Pool(env), limits or env.limits
        self.plan, self.use_vllm, self.ahead = plan, plan is not None, Ahead() if ahead else None
        if plan is not None:
            tools = tools_of(env)
            self.sample_prompts = [chat.prompt_ids(row["prompt"], tools) for row in self.rows[:64]]
            plain = self.top_p == 1 and not self.top_k and not self.min_p  # the engine's log-probs are after the cuts
            dtype = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else next(self.model.parameters()).dtype
            self.sampling_bound = BOUNDS.get(dtype, max(BOUNDS.values())) if plain and not ahead else None
        self.run, self.shuffle_rewards, self.dynamic_sampling = run, shuffle_rewards, dynamic_sampling
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        self.writer = RecordWriter(records, "train" if world == 1 else f"train-rank{rank}")
        self._rows_of_step = (-1, 0)

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        # TRL's, without its shuffle: groups stay whole and micro-batches repeat exactly.
        if not self.model.training:
            return self._generate_and_score_completions(generation_batch)
        if self._step % self.every == 0 or self._buffered_inputs is None:
            batch = self._generate_and_score_completions(generation_batch)
            self._buffered_inputs = split_tensor_dict(batch, self.args.steps_per_generation)
        return self._buffered_inputs[self._step % self.args.steps_per_generation]

    def extra_state(self) -> dict[str, Any]:
        """Where this rank stands between two generations, and what was chosen by trying: the layout of the update."""
        ahead = self.ahead.state() if self.ahead is not None else None  # first: the thread counts rows
        return {
            "ahead": ahead, "step": self._step, "buffered": self._buffered_inputs, "rows_of_step": self._rows_of_step,
            "limits": self.limits, "checked": self._checked, "way": self.engine_facts.get("sync"),
        }  # fmt: skip

    def restore_extra(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._step, self._rows_of_step = state["step"], state["rows_of_step"]
        self.limits, self._checked = state["limits"], state["checked"]
        if self.ahead is not None:
            self.ahead.restore(state.get("ahead"))
        if self.plan is not None and state.get("way"):
            self.plan = dataclasses.replace(self.plan, way=state["way"])
        device, buffered = self.accelerator.device, state["buffered"]
        if buffered is not None:
            moved = [{k: v.to(device) if torch.is_tensor(v) else v for k, v in part.items()} for part in buffered]
            self._buffered_inputs = moved

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """One generation batch: collect, score, advantages, records, and the tensors that TRL's loss reads."""
        mode = "train" if self.model.training else "eval"
        try:
            made = self.made([example["number"] for example in inputs], mode)
        except RewardsFailed as failed:
            self.writer.write(failed.rollouts)
            raise
        for name, values in made.metrics.items():
            self._metrics[mode][name] += values
        rollouts = made.rollouts
        self._credit(rollouts, *self._rewards(made.scored[0], mode), mode)
        self.writer.write([*rollouts, *made.left])
        for each in made.scored:
            self.executor.count(each)
        if mode == "train":
            self.begin_next()
        self._log_rollouts(rollouts, mode)
        return self._batch(self._balanced(rollouts))

    def make(self, numbers: Sequence[int], state: TrainerState, mode: str) -> Made:
        """See `RollsAhead.make`."""
        before, rows = self._rows_of_step, [self.rows[number] for number in numbers]
        metrics: dict[str, list[float]] = defaultdict(list)
        try:
            rollouts, scores = self._roll_out(rows, state, metrics)
            made = Made(rollouts, [scores], metrics=metrics)
            if self.dynamic_sampling and mode == "train":
                self._refill(made, state)
        except BaseException:
            self._rows_of_step = before
            raise
        return made

    def _roll_out(
        self, rows: Sequence[Row], state: TrainerState, metrics: dict[str, list[float]]
    ) -> tuple[list[Rollout], Scores]:
        """Collect and score; how long generation took, and what rewards logged, go into the metrics."""

        def collected(on_finished: OnFinished) -> list[Rollout]:
            began = time.perf_counter()
            rollouts = self._collect(rows, state.global_step, on_finished)
            seconds = time.perf_counter() - began
            tokens = sum(rollout.tokens_out for rollout in rollouts) * self.accelerator.num_processes
            metrics["tokens_per_second"].append(tokens / max(seconds, 1e-9))
            metrics["generation_seconds"].append(seconds)
            return rollouts

        began = time.perf_counter()
        rollouts, scores = scored_rollouts(
            collected, self.executor, rows, self.quality, self.num_generations, pays_steps(self.env), trainer_state=state
        )  # fmt: skip
        metrics["reward_seconds"].append(time.perf_counter() - began - metrics["generation_seconds"][-1])
        for name in scores.failures.keys() | self.executor.failed.keys():
            metrics[f"errors/{name}"].append(len(scores.failures.get(name, ())) / len(rollouts))
        for name, calls in scores.overruns.items():
            metrics[f"overruns/{name}"].append(calls / len(rollouts))
        for name, number in scores.metrics.items():
            metrics[name].append(number)
        return rollouts, scores

    def _refill(self, made: Made, state: TrainerState) -> None:
        """Put live groups in place of dead ones, at most `dynamic_sampling` rounds; what stays out is in `left`."""
        size, rollouts, scores, refilled = self.num_generations, made.rollouts, made.scored[0], 0
        taken = {rollout.item for rollout in rollouts}
        for attempt in range(self.dynamic_sampling):
            dead = dead_groups(scores.total, size)
            stream = (self.args.seed, state.global_step, attempt, self.accelerator.process_index)
            fresh = other_rows(self.rows, taken, len(dead), stream)
            if not fresh:
                break
            taken |= {row["item"] for row in fresh}
            others, their_scores = self._roll_out([row for row in fresh for _ in range(size)], state, made.metrics)
            made.scored.append(their_scores)
            useless = dead_groups(their_scores.total, size)
            live = [group for group in range(len(fresh)) if group not in useless]
            places = list(zip(dead, live, strict=False))
            swap(rollouts, others, scores, their_scores, places, size)
            refilled += len(places)
            made.left += others
        for rollout in made.left:
            rollout.advantage = 0.0
        made.metrics["refilled_groups"].append(refilled)

    def _collect(self, rows: Sequence[Row], step: int, on_finished: OnFinished) -> list[Rollout]:
        seen = self._rows_of_step[1] if self._rows_of_step[0] == step else 0
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        self._rows_of_step = (step, seen + len(rows) * world)
        run = run_async if self.ahead is None else self.ahead.run
        return run(
            collecting(
                self.engine, self.chat, self.pool, rows, self.sampling(),
                Batch(self.run, step, "train", self.args.seed, self.num_generations, seen + rank * len(rows)),
                context=context_length(self.model.config), limits=self.rollout_limits, on_finished=on_finished,
            )
        )  # fmt: skip

    def sampling(self) -> Sampling:
        """How training samples, from TRL's own fields."""
        return Sampling(self.max_completion_length, self.temperature, self.top_p, self.top_k or 0, self.min_p or 0.0)

    def _rewards(self, scores: Scores, mode: str) -> tuple[np.ndarray, np.ndarray]:
        """(each reward [N, F], totals [N]) of the batch on all ranks, NaN for unknown; permuted for the control of a proof."""
        local = torch.tensor(np.column_stack([scores.total, scores.values]), device=self.accelerator.device)
        everyone = self.accelerator.gather(local).cpu().double().numpy()
        total, values = everyone[:, 0], everyone[:, 1:]
        for f, name in enumerate(scores.names):
            self._metrics[mode][f"rewards/{name}/mean"].append(_mean(values[:, f]))
        groups = total.reshape(-1, self.spread_size or len(total))
        self._metrics[mode]["reward"].append(_mean(total))
        self._metrics[mode]["reward_std"].append(
            _mean([np.nanstd(g, ddof=1) for g in groups if np.isfinite(g).sum() > 1])
        )
        self._metrics[mode]["unscorable"].append(float(np.isnan(total).mean()))
        if self.shuffle_rewards:
            values, total = permuted(values, total, groups.shape[1], (self.args.seed, self.state.global_step))
        return values, total

    @property
    def spread_size(self) -> int:
        """Rollouts whose rewards are compared with one another, and permuted for a control; 0 for the whole batch."""
        return self.num_generations

    def _credit(self, rollouts: list[Rollout], values: np.ndarray, total: np.ndarray, mode: str) -> None:
        """Write this rank's advantages into its rollouts, from the rewards of all ranks."""
        weights = [reward.weight for reward in self.executor.rewards]
        weights += [1.0] * (values.shape[1] - len(weights))  # what the environment paid per turn
        result, flat = advantages(
            values, total, np.array(weights), self.num_generations, self.scale_rewards, self.multi_objective_aggregation
        )
        self._metrics[mode]["frac_reward_zero_std"].append(float(flat.mean()))
        for rollout, advantage in zip(rollouts, self._own(result, len(rollouts)), strict=True):
            rollout.advantage = float(advantage)

    def _own(self, everyone: np.ndarray, rows: int) -> np.ndarray:
        """This rank's part of what was gathered, `rows` from each rank."""
        start = self.accelerator.process_index * rows
        return everyone[start : start + rows]

    def _balanced(self, rollouts: list[Rollout]) -> list[Rollout]:
        """As many of all ranks' groups, dealt so that every rank has as much to forward."""
        size, world = self.num_generations, self.accelerator.num_processes
        if world == 1 or self.techniques()["balance"]:
            return rollouts
        everyone: list[Rollout] = gather_object(rollouts)
        groups = [everyone[start : start + size] for start in range(0, len(everyone), size)]
        costs = [sum(len(r.prompt_ids) + len(r.completion_ids) for r in group if r.advantage) for group in groups]
        mine = dealt(costs, world)[self.accelerator.process_index]
        return [rollout for number in mine for rollout in groups[number]]

    def _batch(self, rollouts: Sequence[Rollout]) -> dict[str, Any]:
        batch = tensors(
            rollouts, self.chat.tokenizer.pad_token_id, self.accelerator.device, tools=self.tools_reply,
            mask_cut=self.mask_truncated_completions, sampled=self.use_vllm,
        )  # fmt: skip
        trained = (batch["completion_mask"] * batch.get("tool_mask", 1)).sum()
        batch["num_items_in_batch"] = self.accelerator.gather(trained).sum()
        batch.update(self._fixed_logps(batch))
        return batch

    def _fixed_logps(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Log-probs that do not move while this batch is trained on: the old policy's where it is reused, the reference's."""
        rows = batch["advantages"].size(0)
        live = live_of(batch) if not self.techniques()["prune"] else list(range(rows))
        part = selected(batch, live, rows)

        def logps(model: Any) -> torch.Tensor:
            known = self._get_per_token_logps_and_entropies(model, *joined(part))[0]
            return known.new_zeros(rows, known.size(1)).index_copy(0, torch.tensor(live, device=known.device), known)

        fixed = {}
        with torch.no_grad(), disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs):
            if reused(self.args):
                fixed["old_per_token_logps"] = logps(self.model)
            if self.beta != 0.0 and self.ref_model is not None:
                fixed["ref_per_token_logps"] = logps(self.ref_model)
            elif self.beta != 0.0:
                model = self.accelerator.unwrap_model(self.model)
                with use_adapter(model, adapter_name="ref" if "ref" in model.peft_config else None):
                    fixed["ref_per_token_logps"] = logps(self.model)
        return fixed

    @property
    def tools_reply(self) -> bool:
        """Whether completions hold tokens that the policy did not write; the same on every rank."""
        return bool(tools_of(self.env))

    def _log_rollouts(self, rollouts: Sequence[Rollout], mode: str) -> None:
        lengths = [rollout.tokens_out for rollout in rollouts]
        metrics = self._metrics[mode]
        metrics["completions/mean_length"].append(float(np.mean(lengths)))
        metrics["completions/max_length"].append(float(np.max(lengths)))
        metrics["completions/clipped_ratio"].append(
            float(np.mean([r.stop_reason == StopReason.LENGTH for r in rollouts]))
        )
        if self.tools_reply:
            calls = sum(rollout.tool_calls for rollout in rollouts)
            metrics["tools/call_frequency"].append(calls / len(rollouts))
            metrics["tools/failure_frequency"].append(sum(r.tool_errors for r in rollouts) / max(calls, 1))
            metrics["turns"].append(float(np.mean([rollout.turns for rollout in rollouts])))
        metrics["quality"].append(_mean([r.quality for r in rollouts if r.quality is not None]))


def _mean(values: Any) -> float:
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    return float(known.mean()) if len(known) else float("nan")
