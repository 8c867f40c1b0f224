"""PPO's configuration: every key of GRPO's that is not about groups, and the critic's. Defaults name their sources."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Literal

from peft import LoraConfig
from trl import GRPOConfig

from ..configs import BadInput
from ..configs.schema import JobConfig, check_keys, field_types

REFUSED = {
    "beta": "PPO pays the penalty out of the reward: set kl_coef",
    "scale_rewards": "there is no group to scale by: set whiten_advantages",
    "multi_objective_aggregation": "rewards are added up by weight; there is no group to normalize them in",
    "use_adaptive_entropy": "set entropy_coef, which stays as it is",
    "top_entropy_quantile": "every token that the policy wrote is trained on",
    "off_policy_mask_threshold": "it is made for one advantage a completion",
    "sync_ref_model": "the reference of kl_coef is the base, which stays as it is",
}
"""Keys of GRPO's that mean nothing here, and what does."""
LOSSES = ("dapo", "bnpo", "grpo", "dr_grpo", "cispo")
"""Of TRL's `loss_type`, those that take an advantage per token; they differ in what they divide by."""
STARTS = (True, False, "gaussian", "orthogonal")
"""Ways to begin an adapter that leave the base as it is (`init_lora_weights`)."""
BESIDE = {"modules_to_save": None, "bias": "none", "trainable_token_indices": None}
"""What a `LoraConfig` may train of the base itself, switched off: a critic has its adapter and its head."""

NOT_SHARDED = "the recipe ppo runs on data-parallel processes in this version: use another launch shape"


@dataclass
class PPOConfig(GRPOConfig):
    """TRL's `GRPOConfig` with PPO's own keys and defaults.

    An optimizer step is one minibatch. A generation batch holds `steps_per_generation / gradient_accumulation_steps` minibatches,
    each of which is trained on `num_iterations` times, in an order drawn anew each time.
    """

    num_generations: int = 1
    """Rollouts of a prompt. 1, as in Schulman et al. 2017: the critic is the baseline; a group shares its prompt's forward."""
    num_iterations: int = 4
    """Epochs over a generation batch. 4, as TRL 1.12's PPO (`num_ppo_epochs`)."""
    gamma: float = 1.0
    """Discount per token that the policy wrote. 1, as TRL 1.12's PPO."""
    lam: float = 0.95
    """Lambda of the policy's advantages (Schulman et al. 2016). 0.95, as TRL 1.12's PPO."""
    critic_lam: float = 1.0
    """Lambda of the critic's targets. 1, plain returns: Yuan et al. 2025 (VC-PPO) find less biased for late rewards."""
    whiten_advantages: bool = True
    """Mean 0 and spread 1 over a generation batch's written tokens: Andrychowicz et al. 2021, Huang et al. 2024."""
    cliprange_value: float | None = 0.2
    """How far a value may move from what it was when its batch was made, null for any: 0.2, as TRL 1.12's PPO."""
    value_coef: float = 0.5
    """Weight of the value loss, which is half the mean squared error. 0.5: Schulman et al. 2017 have it at 1 without the half."""
    critic: Literal["adapter", "head", "model"] = "adapter"
    """The critic's backbone: a LoRA adapter of its own on the policy's base, the policy's own forward, or another model."""
    critic_model_name_or_path: str | None = None
    """The other model, with `critic: model`; a copy of the policy's base where not given. It must have the policy's tokens."""
    critic_nano: dict[str, Any] = field(default_factory=dict)
    """Laid on `nano` for a critic on an embedded model of its own, with `critic: model`; {target: 1.0, steps: 2000, patience: 30}
    for one that has learned all that the demonstrations teach."""
    critic_lora: dict[str, Any] = field(default_factory=dict)
    """Laid on `lora` for the critic's adapter."""
    critic_reads_logprobs: bool = True
    """Whether a critic with its own forward (`adapter`, `model`) is told how likely each token was that the policy wrote, and how
    open the next choice is; one on a model that is named (`critic_model_name_or_path`, `critic_nano`), what that model thinks of
    both too. On arithmetic an adapter ends at 0.45 of the variance explained, and at 0.24 without (docs/ppo.md)."""
    critic_learning_rate: float | None = None
    """Of the critic; that of the policy where not given, as TRL 1.12's PPO."""
    critic_warmup_steps: int = 0
    """Optimizer steps at the start in which the critic learns alone (VC-PPO takes 50 from a critic that knows nothing)."""
    bootstrap_truncated: bool = False
    """Whether a rollout that ran into a limit goes on in the critic's eyes. Off: where the limit is part of the task a completion
    without an end has failed, and bootstrapping would pay it what the critic hopes for (Pardo et al. 2018)."""
    kl_coef: float = 0.0
    """Paid per token out of the reward for each nat between policy and reference (Ziegler et al. 2019). 0 where rewards can be
    verified (Yu et al. 2025, DAPO); 0.05 is TRL 1.12's for learned ones."""
    kl_target: float | None = None
    """Nats a token at which `kl_coef` is held: it rises where the policy is further away. Null: `kl_coef` stays as it is."""
    kl_horizon: int = 10000
    """Rollouts over which `kl_coef` adapts (Ziegler et al. 2019)."""
    target_kl: float | None = None
    """Nats a token between the policy and the one that sampled: where a step exceeds 1.5 times that, the rest of the batch's
    steps change nothing (as stable-baselines3). Null: all of them are made."""

    def __post_init__(self) -> None:
        group, batch = self.num_generations, self._rollouts_a_batch()
        if group < 1:
            raise ValueError(f"num_generations is {group}; it should be 1 or more")
        if batch < 2:
            raise ValueError(
                "a generation batch is one rollout; raise per_device_train_batch_size or steps_per_generation"
            )
        if group == 1:  # TRL refuses it, for there a group is the baseline
            self.num_generations = max(2, batch)
        try:
            super().__post_init__()
        finally:
            self.num_generations = group
        if (self.steps_per_generation or 1) % self.gradient_accumulation_steps:
            raise ValueError(
                f"gradient_accumulation_steps {self.gradient_accumulation_steps} does not divide steps_per_generation "
                f"{self.steps_per_generation}: an optimizer step is a minibatch of one batch; change one of them"
            )
        if self.kl_target is not None and self.kl_coef == 0:
            raise ValueError(
                "kl_target is set and kl_coef is 0, which nothing can adapt: set kl_coef to start from, 0.05 say"
            )
        if self.critic_model_name_or_path and self.critic != "model":
            raise ValueError(
                f"critic_model_name_or_path is set and critic is {self.critic}; set critic: model, or remove it"
            )
        if self.critic_nano and (self.critic != "model" or self.critic_model_name_or_path):
            raise ValueError(
                "critic_nano is the embedded model that a critic stands on: set critic: model and no critic_model_name_or_path, "
                "or remove it"
            )
        if self.critic_lora and self.critic == "head":
            raise ValueError(
                "critic_lora is set and critic is head, which has no adapter; set critic: adapter, or remove it"
            )

    @property
    def opinions(self) -> int:
        """Models whose opinion of each token the critic is told: the policy, and another that the critic stands on."""
        if self.critic == "head" or not self.critic_reads_logprobs:
            return 0
        return 1 + bool(self.critic_model_name_or_path or self.critic_nano)

    def _rollouts_a_batch(self) -> int:
        if self.generation_batch_size is not None:
            return int(self.generation_batch_size)
        steps = self.steps_per_generation or self.gradient_accumulation_steps
        return int(self.per_device_train_batch_size * steps * int(os.environ.get("WORLD_SIZE", "1")))


def check_ppo(where: str, given: dict[str, Any], args: PPOConfig, job: JobConfig, lora: LoraConfig) -> None:
    """What the configurations hold that doesn't go with PPO.

    Raises:
        BadInput: names the key and what to do.
    """
    for key, instead in REFUSED.items():
        default = PPOConfig.__dataclass_fields__[key].default
        if key in given and getattr(args, key) != default:
            raise BadInput(f"{where}: {key} is a key of GRPO's: {instead}; remove it")
    if args.loss_type not in LOSSES:
        raise BadInput(f"{where}: loss_type is {args.loss_type}; PPO takes {', '.join(LOSSES)}")
    if args.importance_sampling_level != "token":
        raise BadInput(f"{where}: importance_sampling_level is {args.importance_sampling_level}; PPO's is per token")
    check_keys(args.critic_lora, field_types(LoraConfig), f"{where}: critic_lora")
    for key, none in BESIDE.items():
        if key in args.critic_lora:
            raise BadInput(f"{where}: critic_lora: {key}: a critic has its adapter and its head; remove it")
        if args.critic == "adapter" and getattr(lora, key) != none:
            raise BadInput(
                f"{where}: lora.{key} trains a part of the base, which policy and critic share: set critic: head or model, or "
                "remove it"
            )
    if args.critic_lora.get("init_lora_weights", True) not in STARTS:
        raise BadInput(
            f"{where}: critic_lora: init_lora_weights is {args.critic_lora['init_lora_weights']!r}, which may rewrite the base "
            f"that policy and critic share; it should be one of {', '.join(map(str, STARTS))}"
        )
    if args.critic == "head" and given.get("critic_reads_logprobs"):
        raise BadInput(
            f"{where}: critic_reads_logprobs is set and critic is head, which reads the policy's own forward; set critic: "
            "adapter, or remove it"
        )
    if job.dynamic_sampling:
        raise BadInput(
            f"{where}: dynamic_sampling replaces groups without a signal; a critic learns from all: remove it"
        )
    if job.async_rollouts:
        raise BadInput(f"{where}: async_rollouts works with the recipe grpo alone in this version: set it to 0")
    if args.fp16 and args.target_kl is not None:
        raise BadInput(
            f"{where}: target_kl skips steps, which fp16's loss scale does not allow: set bf16: true, or remove it"
        )
