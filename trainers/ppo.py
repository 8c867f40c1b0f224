"""PPO over the same rollouts, rewards, engines and layout as GRPO: what differs is where credit comes from.

Always true here: the policy term is TRL's loss with an advantage per token, the value term is ours; both come of one call of the
wrapped model; a rollout without a result (its reward failed) moves neither; what is sampled is never re-tokenised.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig
from trl.trainer.utils import add_fused_lm_head, split_tensor_dict

from ..configs import BadInput
from .credit import Credit
from .critic import FILE, attach_critic, hidden_states
from .grpo import Trainer
from .layout import Chunk
from .ppo_config import NOT_SHARDED, PPOConfig
from .prefix import CacheDropped
from .tensors import joined
from .update import Padded, in_order, trimmed


class PPOTrainer(Credit, Trainer):
    """See `Trainer`; further arguments are its own.

    Args:
        lora: of the critic's adapter.
        critic_base: with `critic: model`, the model it stands on.
    """

    args: PPOConfig
    _drift: tuple[float, int] = (0.0, 0)
    """KL to the policy that sampled, summed over the tokens of an accumulation window, and their number."""
    _stopped = False
    _odds: torch.Tensor | None = None
    """What the critic is told of the batch that is forwarded [B, 1 + C, 3 x opinions]."""
    _keeps_cache = True
    """Whether the critic's backbone can share a prompt."""

    def __init__(
        self, model: Any, args: PPOConfig, *, lora: LoraConfig, critic_base: Any = None, **kwargs: Any
    ) -> None:  # fmt: skip
        self.critic = attach_critic(model, args.critic, lora, critic_base, args.gradient_checkpointing, args.opinions)
        self.kl_coef = args.kl_coef
        super().__init__(model, args, **kwargs)
        if args.opinions > 1:  # as TRL does with the policy and its reference
            add_fused_lm_head(
                self.critic.lm.get_base_model(), temperature=self.temperature,
                cast_lm_head_to_fp32=args.cast_lm_head_to_fp32, outputs=("log_probs", "entropy"),
            )  # fmt: skip
        if self.sharded:
            raise BadInput(NOT_SHARDED)

    def new_batch(self) -> None:
        """See `Credit.new_batch`."""
        self._stopped, self._drift = False, (0.0, 0)

    def techniques(self) -> dict[str, str]:
        """See `LeanUpdate.techniques`."""
        own = "the critic learns from every rollout"
        return {**super().techniques(), "prune": own, "balance": own}

    @property
    def packed(self) -> bool:
        """See `LeanUpdate.packed`; a head reads the policy's forward where its completions stand in rows."""
        return super().packed and self.args.critic != "head"

    # -- minibatches: an order of their own in each epoch

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        inputs = super()._prepare_inputs(generation_batch)
        per, at = self.args.steps_per_generation or 1, self._step % self.every
        if not self.model.training or at % per or per == 1:
            return inputs
        whole = {
            key: torch.cat([part[key] for part in self._buffered_inputs]) if value.dim() else value
            for key, value in inputs.items()
        }
        groups = len(whole["advantages"]) // self.num_generations
        deal = np.random.default_rng((self.args.seed, self._step, self.accelerator.process_index)).permutation(groups)
        rows = torch.tensor(deal)[:, None] * self.num_generations + torch.arange(self.num_generations)
        index = rows.flatten().to(self.accelerator.device)
        shuffled = {key: value[index] if value.dim() else value for key, value in whole.items()}
        self._buffered_inputs = split_tensor_dict(shuffled, per)
        return self._buffered_inputs[0]

    # -- the loss

    @property
    def warming(self) -> bool:
        """Whether the critic learns alone."""
        return bool(self.state.global_step < self.args.critic_warmup_steps)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        if self._skips():
            # Without a gradient Adam leaves a parameter, and what it remembers of it, as it is.
            return torch.zeros((), device=self.accelerator.device, requires_grad=True)
        inputs = trimmed(inputs)
        if self.warming:
            values_BC = self._both(model, inputs, policy=False)[1]
            return self.args.value_coef * self._value_loss(values_BC[:, :-1], inputs)
        self._odds = inputs.get("odds")
        policy = super()._compute_loss(model, inputs)
        return policy + self.args.value_coef * self._value_loss(self._values_read()[:, :-1], inputs)

    def _value_loss(self, values_BC: torch.Tensor, inputs: dict[str, Any]) -> torch.Tensor:
        """Half the squared error to the returns, clipped, a mean over the tokens of an accumulation window."""
        loss_BC, clipped_BC = value_errors(
            values_BC, inputs["old_values"], inputs["returns"], self.args.cliprange_value
        )
        own_BC = inputs["credited"]
        tokens = inputs["num_items_in_batch"].clamp(min=1.0) / self.accelerator.num_processes
        tokens = tokens * self.current_gradient_accumulation_steps / self.args.steps_per_generation
        total, count, clipped = self._summed(
            float((loss_BC * own_BC).sum().detach()), float(own_BC.sum()), float((clipped_BC * own_BC).sum())
        )
        self._metrics["train"]["critic/loss"].append(total / max(count, 1))
        self._metrics["train"]["critic/clip_ratio"].append(clipped / max(count, 1))
        return (loss_BC * own_BC).sum() / tokens

    def _skips(self) -> bool:
        """Whether the policy has gone far enough from the one that sampled; looked at where an optimizer step begins."""
        if self.args.target_kl is None:
            return False
        if self._step % self.args.gradient_accumulation_steps == 0:
            total, count = self._drift
            self._stopped |= count > 0 and total / count > 1.5 * self.args.target_kl
            self._drift = (0.0, 0)
            self._metrics["train"]["policy/skipped"].append(float(self._stopped))
        return self._stopped

    def _get_per_token_logps_and_entropies(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        found = super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
        if self._in_loss is not None:
            self._look_at_drift(found[0].detach(), self._in_loss)
        return found

    def _look_at_drift(self, logps_BC: torch.Tensor, inputs: dict[str, Any]) -> None:
        """KL to the policy that sampled, by Schulman's estimator r - 1 - log r, which is never below 0."""
        old = inputs.get("old_per_token_logps")
        if old is None:
            return
        own_BC = inputs["completion_mask"] * inputs.get("tool_mask", 1)
        gap_BC = (logps_BC - old) * own_BC
        total, count = self._summed(float((gap_BC.exp() - 1 - gap_BC).sum()), float(own_BC.sum()))
        self._drift = self._drift[0] + total, self._drift[1] + int(count)
        self._metrics["train"]["policy/approx_kl"].append(total / max(count, 1))

    # -- forwards: the policy's, the critic's, or both in one call of the wrapped model

    def _both(
        self, model: Any, inputs: dict[str, Any], policy: bool
    ) -> tuple[torch.Tensor | None, torch.Tensor]:  # fmt: skip
        """(log-probs [B, C] where asked for, values [B, C + 1])"""
        if policy:
            logps = self._get_per_token_logps_and_entropies(model, *joined(inputs))[0]
            return logps, self._values_read()
        batch, self._odds = Padded(*joined(inputs)), inputs.get("odds")
        chunks = self._plan(batch, share=not self._checkpointing(model))
        if not self._checked and any(chunk.shared for chunk in chunks):
            self._check_sharing(model, batch, chunks)
            return self._both(model, inputs, policy)

        def values(inner: Any) -> tuple[torch.Tensor, ...]:
            return in_order([self._values(inner, batch, chunk) for chunk in chunks], chunks, batch.keep + 1)

        return None, self._through(model, values)[0]

    def _values_read(self) -> torch.Tensor:
        (values,), self.also_read = self.also_read, ()
        return values

    def _read(self, model: Any, batch: Padded, chunk: Chunk) -> tuple[torch.Tensor, ...]:
        """Log-probs, entropies [rows, C] and values [rows, C + 1]."""
        if not self._reading:
            return super()._read(model, batch, chunk)
        if self.args.critic != "head":
            return (*super()._read(model, batch, chunk), *self._values(model, batch, chunk))
        with hidden_states(model) as seen:
            read = super()._read(model, batch, chunk)
        return (*read, self.critic.value(seen[-1][:, -read[0].size(1) - 1 :]))

    def _values(self, model: Any, batch: Padded, chunk: Chunk) -> tuple[torch.Tensor, ...]:
        lm = model if self.critic.lm is None else self.critic.lm
        alone = self.critic.lm is None and self.warming  # a policy that stays as it is
        odds = None if self._odds is None else self._odds[list(chunk.rows)]
        head = partial(self.critic.read, odds_BCK=odds, detached=alone)
        if chunk.shared and self._keeps_cache and not self._checkpointing(model):
            try:
                return self._shared(lm, batch, chunk.rows, head)
            except CacheDropped:  # a critic on another kind of model than the policy's, which was tried
                self._keeps_cache = False
        return self._plain(lm, batch, chunk.rows, head)

    # -- the optimizer, and what a checkpoint holds

    def create_optimizer(self, *args: Any) -> Any:
        """transformers', with the critic's parameters in groups of their own."""
        before = self.optimizer
        optimizer = super().create_optimizer(*args)
        if before is None:
            of_critic = {id(parameter) for parameter in self.critic.parameters()}
            for group in list(optimizer.param_groups):
                own = [p for p in group["params"] if id(p) in of_critic]
                if own:
                    group["params"] = [p for p in group["params"] if id(p) not in of_critic]
                    rate = self.args.critic_learning_rate or self.args.learning_rate
                    optimizer.add_param_group({**group, "params": own, "lr": rate})
        return optimizer

    def _clip_grad_norm(self, model: Any) -> Any:
        """Policy and critic each by itself: a critic that is far off takes nothing of the policy's step."""
        own = [p for p in self.critic.parameters() if p.requires_grad]
        of_critic = {id(p) for p in own}
        others = [p for p in model.parameters() if p.requires_grad and id(p) not in of_critic]
        norm = self.accelerator.clip_grad_norm_(others, self.args.max_grad_norm)
        torch.nn.utils.clip_grad_norm_(own, self.args.max_grad_norm)
        return norm

    def extra_state(self) -> dict[str, Any]:
        """See `Trainer.extra_state`."""
        return {**super().extra_state(), "kl_coef": self.kl_coef, "drift": self._drift, "stopped": self._stopped}

    def restore_extra(self, state: dict[str, Any]) -> None:
        """See `Trainer.restore_extra`."""
        super().restore_extra(state)
        self.kl_coef, self._drift, self._stopped = state["kl_coef"], state["drift"], state["stopped"]

    def save_beside(self, folder: Path) -> None:
        """See `SafeCheckpoints.save_beside`."""
        self.critic.save(folder / FILE)

    def load_beside(self, folder: Path) -> None:
        """See `SafeCheckpoints.load_beside`."""
        self.critic.load(folder / FILE)


def value_errors(
    values: torch.Tensor, old: torch.Tensor, returns: torch.Tensor, clip: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """(half the squared error of each value, whether the clipped one counts): the larger of both, as in Schulman's own PPO."""
    error = (values - returns) ** 2
    if clip is None:
        return 0.5 * error, torch.zeros_like(error)
    bounded = (old + (values - old).clamp(-clip, clip) - returns) ** 2
    return 0.5 * torch.maximum(error, bounded), (bounded > error).float()
