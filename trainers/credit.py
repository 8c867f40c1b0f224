"""Where PPO's credit comes from: values, rewards per token, and advantages of a generation batch.

Always true here: only tokens that the policy wrote earn or owe anything; a rollout without a result has no advantage and teaches
the critic nothing; what is logged of the critic is measured on rollouts that it has not learned from yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.utils import use_adapter

from ..rollouts.record import Rollout, StopReason
from .critic import Critic, odds
from .gae import explained_variance, gae, token_rewards
from .ppo_config import PPOConfig
from .tensors import joined, reused
from .update import Padded, in_order

CUT_OFF = {StopReason.LENGTH, StopReason.CONTEXT, StopReason.TURNS, StopReason.TIMEOUT}
"""Ends that are a limit's, not the policy's."""


class Credit:
    """Mixed in before `Trainer`, whose `_credit` and `_batch` these take the place of."""

    args: PPOConfig
    accelerator: Any
    model: Any
    critic: Critic
    shuffle_rewards: bool
    kl_coef: float
    _metrics: Any
    _both: Any
    _get_per_token_logps_and_entropies: Any
    _plan: Any
    _plain: Any
    _built: dict[str, Any] | None = None
    _reading = True
    """Whether a forward reads values beside log-probs."""

    @property
    def spread_size(self) -> int:
        """The whole batch: rollouts are not compared within groups."""
        return 0

    def _credit(self, rollouts: list[Rollout], values: np.ndarray, total: np.ndarray, mode: str) -> None:
        """Advantages and returns of every token, into the batch that `_batch` returns; their means into the records."""
        self.new_batch()
        batch = self._built = super()._batch(rollouts)  # type: ignore[misc]
        own: np.ndarray = self._own(total, len(rollouts))  # type: ignore[attr-defined]
        written_BC = (batch["completion_mask"] * batch.get("tool_mask", 1)).cpu().numpy().astype(bool)
        written_BC &= np.isfinite(own)[:, None]
        all_BC = batch.pop("values").double().numpy()
        values_BC = all_BC[:, :-1]
        after_B = all_BC[np.arange(len(rollouts)), [len(rollout.completion_ids) for rollout in rollouts]]
        after_B = after_B * [self.args.bootstrap_truncated and rollout.stop_reason in CUT_OFF for rollout in rollouts]
        rewards_BC = self._token_rewards(rollouts, own, written_BC) - self._penalty(batch, written_BC, mode)

        def advantages(lam: float) -> np.ndarray:
            return gae(rewards_BC, values_BC, after_B, written_BC, self.args.gamma, lam)

        advantages_BC = advantages(self.args.lam)
        self._log_critic(advantages(1.0) + values_BC, values_BC, written_BC, mode)
        for rollout, row, mine in zip(rollouts, advantages_BC, written_BC, strict=True):
            rollout.advantage = float(row[mine].mean()) if mine.any() else 0.0
        if self.args.whiten_advantages:
            advantages_BC = self._whitened(advantages_BC, written_BC)
        arrays = {
            "advantages": advantages_BC, "returns": advantages(self.args.critic_lam) + values_BC, "old_values": values_BC,
            "credited": written_BC,
        }  # fmt: skip
        for name, array in arrays.items():
            batch[name] = torch.tensor(array, dtype=torch.float32, device=self.accelerator.device)

    def new_batch(self) -> None:
        """A generation batch begins."""

    def _token_rewards(self, rollouts: Sequence[Rollout], own_B: np.ndarray, written_BC: np.ndarray) -> np.ndarray:
        # The control of a proof is paid somebody else's sum, at the end.
        steps = [[] if self.shuffle_rewards else rollout.step_rewards for rollout in rollouts]
        return token_rewards(written_BC, steps, np.nan_to_num(own_B - [sum(paid) for paid in steps]))

    def _batch(self, rollouts: Sequence[Rollout]) -> dict[str, Any]:
        batch, self._built = self._built, None
        assert batch is not None
        return batch

    def _fixed_logps(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        """`values` [B, C + 1] on the CPU; where needed, tokens' `odds` and log-probs of the old policy and the reference."""
        penalty, again, fixed = self.kl_coef > 0, reused(self.args), {}
        kwargs: Any = self.args.gradient_checkpointing_kwargs
        policy, critic = (
            disable_gradient_checkpointing(lm, kwargs) for lm in (self.model, self.critic.lm or self.model)
        )
        with torch.no_grad(), policy, critic:  # either would drop the cache of a shared prompt
            if self.critic.odds is None:
                logps, values = self._both(self.model, batch, policy=penalty or again)
            else:
                logps, entropies = self._policy_alone(batch)
                written = batch["completion_mask"] * batch.get("tool_mask", 1)
                fixed["odds"] = odds(logps, entropies, written)
                if self.args.opinions > 1:
                    second = odds(*self._second_opinion(batch), written)
                    fixed["odds"] = torch.cat([fixed["odds"], second], dim=-1)
                values = self._both(self.model, {**batch, **fixed}, policy=False)[1]
            if penalty or again:
                fixed["old_per_token_logps"] = logps
            if penalty:
                with use_adapter(self.accelerator.unwrap_model(self.model), adapter_name=None):
                    fixed["ref_per_token_logps"] = self._policy_alone(batch)[0]
        return {**fixed, "values": values.cpu()}

    def _second_opinion(self, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """(log-probs, entropies) [B, C] of the model that the critic stands on, without its adapter."""
        padded = Padded(*joined(batch))
        chunks = self._plan(padded, share=False)
        with use_adapter(self.critic.lm, adapter_name=None), self.accelerator.autocast():
            read = [self._plain(self.critic.lm, padded, chunk.rows) for chunk in chunks]
        logps, entropies = in_order(read, chunks, padded.keep)
        return logps, entropies

    def _policy_alone(self, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """(log-probs, entropies) [B, C] from a forward that reads no values."""
        self._reading = False
        try:
            read = self._get_per_token_logps_and_entropies(self.model, *joined(batch), compute_entropy=True)
        finally:
            self._reading = True
        return read[0], read[1]

    def _penalty(self, batch: dict[str, Any], written_BC: np.ndarray, mode: str) -> np.ndarray | float:
        """What each token pays for its distance from the reference [B, C]; the coefficient adapts where it has a target."""
        if self.kl_coef == 0:
            return 0.0
        gap = (batch["old_per_token_logps"] - batch.pop("ref_per_token_logps")).cpu().double().numpy() * written_BC
        total, count = self._summed(gap.sum(), written_BC.sum())
        kl, paid = total / max(count, 1), self.kl_coef * gap
        self._metrics[mode]["kl"].append(kl)
        self._metrics[mode]["kl_coef"].append(self.kl_coef)
        if self.args.kl_target is not None and mode == "train":
            error = np.clip(kl / self.args.kl_target - 1, -0.2, 0.2)
            rollouts = len(gap) * self.accelerator.num_processes
            self.kl_coef *= float(1 + error * rollouts / self.args.kl_horizon)
        return paid

    def _whitened(self, advantages_BC: np.ndarray, written_BC: np.ndarray) -> np.ndarray:
        own = advantages_BC[written_BC]
        total, square, count = self._summed(own.sum(), (own**2).sum(), written_BC.sum())
        mean = total / max(count, 1)
        spread = np.sqrt(max(square / max(count, 1) - mean**2, 0.0))
        return (advantages_BC - mean) / (spread + 1e-8) * written_BC

    def _log_critic(self, returns_BC: np.ndarray, values_BC: np.ndarray, written_BC: np.ndarray, mode: str) -> None:
        """The critic on what this batch really returned, which it has not learned from yet; over all ranks."""
        mine = torch.tensor(
            np.stack([returns_BC[written_BC], values_BC[written_BC]], 1), device=self.accelerator.device
        )
        if self.accelerator.num_processes > 1:
            mine = self.accelerator.gather(self.accelerator.pad_across_processes(mine, dim=0, pad_index=torch.nan))
        returns, values = mine[~mine.isnan().any(1)].cpu().double().numpy().T
        metrics = self._metrics[mode]
        explained = explained_variance(returns, values)
        if np.isfinite(explained):
            metrics["critic/explained_variance"].append(explained)
        metrics["critic/value_mean"].append(float(values.mean()) if len(values) else 0.0)
        metrics["critic/return_mean"].append(float(returns.mean()) if len(values) else 0.0)

    def _summed(self, *numbers: float) -> list[float]:
        """Each number over all ranks."""
        local = torch.tensor(numbers, dtype=torch.float64, device=self.accelerator.device)
        return [float(n) for n in self.accelerator.reduce(local, reduction="sum").tolist()]
