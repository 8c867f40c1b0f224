"""Which values of a number make sense, key by key: a value out of range is refused before anything is made.

Invariants: each key is on one line of one table; what TRL, transformers, torch or PEFT would do with a value out of range, from a
traceback in the first step to nothing at all, is never left to them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ..configs import BadInput

Holds = Callable[[float], bool]

RULES: dict[str, tuple[Holds, str]] = {
    "above 0": (lambda x: 0 < x < math.inf, """
        num_train_epochs save_steps temperature adam_epsilon
        vllm_server_timeout lora.lora_alpha limits.seconds limits.tool_seconds nano.learning_rate
        critic_nano.learning_rate
    """),
    "above 0, or null": (lambda x: 0 < x < math.inf, """
        delta max_seconds critic_learning_rate kl_target target_kl cliprange_value
    """),
    "0 or more": (lambda x: 0 <= x < math.inf, """
        learning_rate weight_decay max_grad_norm warmup_steps beta epsilon epsilon_high critic_warmup_steps kl_coef
        value_coef top_k validate_every dynamic_sampling_rounds logging_steps
        evaluation.temperature evaluation.top_k nano.steps nano.weight_decay critic_nano.steps
        critic_nano.weight_decay nano.demonstrations critic_nano.demonstrations
        sapo_temperature_neg sapo_temperature_pos off_policy_mask_threshold
    """),
    "a whole number from 0 to 4294967295": (lambda x: 0 <= x < 2**32, "seed"),
    "1 or more": (lambda x: 1 <= x < math.inf, """
        per_device_train_batch_size gradient_accumulation_steps steps_per_generation generation_batch_size
        num_generations num_iterations max_completion_length save_total_limit train_rows validation_rows heldout_rows
        forward_tokens decode_rows kl_horizon vllm_max_model_length vllm_tensor_parallel_size
        limits.turns limits.tokens limits.observation evaluation.k lora.r
        nano.hidden_size nano.layers nano.heads nano.kv_heads nano.head_dim nano.intermediate_size nano.context
        nano.vocab_size nano.validation nano.batch nano.check_every nano.patience
        critic_nano.hidden_size critic_nano.layers critic_nano.heads critic_nano.kv_heads critic_nano.head_dim
        critic_nano.intermediate_size critic_nano.context critic_nano.validation critic_nano.batch
        critic_nano.check_every critic_nano.patience
    """),
    "1 or more, or -1 for whole epochs": (lambda x: x == -1 or 1 <= x < math.inf, "max_steps"),
    "above 0, 1 at most": (lambda x: 0 < x <= 1, """
        top_p evaluation.top_p vllm_gpu_memory_utilization
    """),
    "0 or more, 1 at most": (lambda x: 0 <= x <= 1, """
        min_p max_error_rate gamma lam critic_lam top_entropy_quantile nano.target critic_nano.target
    """),
    "0 or more and below 1": (lambda x: 0 <= x < 1, "adam_beta1 adam_beta2 lora.lora_dropout"),
}  # fmt: skip
"""In words -> whether a number obeys, and the keys that must; `limits.tokens` is the key `tokens` of the mapping `limits`."""
RANGES = {key: (holds, words) for words, (holds, keys) in RULES.items() for key in keys.split()}
NESTED = ("evaluation", "limits", "lora", "nano", "critic_nano")


def check_ranges(values: Mapping[str, Any], where: str) -> None:
    """Raise BadInput for the first number that makes no sense; what is not given, or None, is not looked at."""
    nested = {name: values[name] for name in NESTED if isinstance(values.get(name), Mapping)}
    given = {**values, **{f"{name}.{key}": v for name, mapping in nested.items() for key, v in mapping.items()}}
    for key, value in given.items():
        if key in RANGES and isinstance(value, int | float | str) and not isinstance(value, bool):
            holds, words = RANGES[key]
            try:
                number = float(value)
            except ValueError:
                continue  # its type is checked elsewhere
            if not holds(number):
                raise BadInput(f"{where}: {key} is {value}; it should be {words}")
