"""Every key of TRL's, transformers' and PEFT's configurations, and what this package does with it.

Invariants: each field of `GRPOConfig` (which holds `TrainingArguments`), `ModelConfig` and `LoraConfig` is in exactly one of
`APPLIED`, `OURS` and `REFUSED` (of `LORA_APPLIED` and `LORA_REFUSED`): a field that a new version brings is in none, and a test
says so. An applied key has here the effect that it has in TRL. A key that would change nothing is refused, unless it has its
default, which changes nothing anywhere.
"""

from __future__ import annotations

from typing import Any

from transformers import SchedulerType


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


APPLIED = _words(
    """
    output_dir run_name report_to project trackio_space_id trackio_bucket_id trackio_static_space_id hub_private_repo
    per_device_train_batch_size gradient_accumulation_steps num_train_epochs max_steps generation_batch_size
    steps_per_generation num_generations num_iterations shuffle_dataset seed full_determinism
    learning_rate lr_scheduler_type lr_scheduler_kwargs warmup_steps optim optim_args weight_decay adam_beta1 adam_beta2
    adam_epsilon max_grad_norm neftune_noise_alpha disable_dropout
    bf16 fp16 tf32 use_cpu gradient_checkpointing gradient_checkpointing_kwargs torch_empty_cache_steps
    logging_strategy logging_steps logging_first_step logging_nan_inf_filter log_level log_level_replica
    save_strategy save_steps save_total_limit
    ddp_find_unused_parameters ddp_bucket_cap_mb ddp_broadcast_buffers ddp_static_graph ddp_timeout
    trust_remote_code chat_template_kwargs max_completion_length temperature top_p top_k min_p
    use_vllm vllm_mode vllm_model_impl vllm_server_base_url vllm_server_host vllm_server_port vllm_server_timeout
    vllm_gpu_memory_utilization vllm_max_model_length vllm_tensor_parallel_size
    vllm_importance_sampling_correction vllm_importance_sampling_mode vllm_importance_sampling_clip_max
    vllm_importance_sampling_clip_min
    beta epsilon epsilon_high delta loss_type scale_rewards multi_objective_aggregation importance_sampling_level
    sapo_temperature_neg sapo_temperature_pos vespo_k_pos vespo_lambda_pos vespo_k_neg vespo_lambda_neg
    mask_truncated_completions off_policy_mask_threshold use_bias_correction_kl top_entropy_quantile entropy_coef
    use_adaptive_entropy entropy_coef_min entropy_coef_max entropy_coef_delta entropy_target router_aux_loss_coef
    model_name_or_path model_revision dtype attn_implementation load_in_8bit load_in_4bit bnb_4bit_quant_type
    use_bnb_nested_quant bnb_4bit_quant_storage
    """
)
"""Keys with the effect that they have in TRL."""

OURS: dict[str, tuple[Any, str]] = {
    "use_peft": (True, "a run ends in an adapter, so only adapters are trained; remove the key, or set `lora`"),
    "eval_strategy": ("no", "validation is this package's own; set validate_every, validation_rows and evaluation"),
    "remove_unused_columns": (False, "rewards read every column of a row; remove the key"),
    "push_to_hub": (False, "an adapter goes out by `journeyman publish RUN`, after the run; remove the key"),
    "disable_tqdm": (True, "the run has a live line of its own; remove the key"),
}
"""Keys that the package sets itself: the value, and what to do in place of another one."""

_REFUSED: dict[str, str] = {
    "lora_r": "set lora.r",
    "lora_alpha": "set lora.lora_alpha",
    "lora_dropout": "set lora.lora_dropout",
    "lora_target_modules": "set lora.target_modules",
    "lora_target_parameters": "set lora.target_parameters",
    "lora_modules_to_save": "set lora.modules_to_save",
    "use_rslora": "set lora.use_rslora",
    "use_dora": "set lora.use_dora",
    "lora_task_type": "the task is always a causal language model; remove the key",
    "model_init_kwargs": "set dtype, attn_implementation, model_revision or trust_remote_code, which have keys of their own",
    "reward_weights": "set weight in the reward's own entry: rewards: [{reward: module:function, weight: 0.5}]",
    "repetition_penalty": "the policy is trained on the tokens it would write by itself; put a reward on repetition",
    "generation_kwargs": "set temperature, top_p, top_k, min_p and max_completion_length; with use_vllm also vllm_options",
    "cache_implementation": "the engine keeps its own cache; remove the key (decode_rows bounds its size)",
    "vllm_enable_sleep_mode": "this engine does not sleep; lower vllm_gpu_memory_utilization instead",
    "vllm_structured_outputs_regex": "structured outputs are not sampled from the policy alone; remove the key",
    "vllm_group_port": "servers get the adapter as a file, not by a process group; set vllm_adapters",
    "vllm_importance_sampling_cap": "set vllm_importance_sampling_clip_max",
    "num_generations_eval": "set evaluation.k",
    "max_tool_calling_iterations": "set limits.turns",
    "pad_to_multiple_of": "batches are trimmed to their longest row; remove the key",
    "label_smoothing_factor": "the loss is that of loss_type; remove the key",
    "average_tokens_across_devices": "loss_type says what the loss is divided by; remove the key",
    "auto_find_batch_size": "groups must stay whole; lower per_device_train_batch_size",
    "optim_target_modules": "an optimizer that projects full weights has none to train here; set lora.target_modules",
    "use_liger_kernel": "the forwards here bring their own fused head; remove the key",
    "liger_kernel_config": "the forwards here bring their own fused head; remove the key",
    "use_cache": "the update shares a prompt's cache where it can; remove the key",
    "include_num_input_tokens_seen": "records/ hold tokens_in and tokens_out of every rollout; remove the key",
    "skip_memory_metrics": "run.json holds peak_memory; remove the key",
    "save_only_model": "a checkpoint holds what resuming needs; remove the key (the adapter is saved by itself at the end)",
    "enable_jit_checkpoint": "SIGTERM and Ctrl-C write a checkpoint already; remove the key",
    "resume_from_checkpoint": "the same command goes on by itself; remove the key (--resume never refuses to)",
    "ignore_data_skip": "a run that goes on sees the rows it would have seen; remove the key",
    "restore_callback_states_from_checkpoint": "a run that goes on restores all it needs; remove the key",
    "data_seed": "set seed, which also orders the tasks",
    "parallelism_config": "set accelerate to a launch shape or an Accelerate config file",
    "fsdp": "set accelerate to a launch shape such as two-cpu-fsdp2, or to an Accelerate config file",
    "fsdp_config": "set accelerate to a launch shape such as two-cpu-fsdp2, or to an Accelerate config file",
    "deepspeed": "set accelerate to an Accelerate config file that names DeepSpeed's",
    "ds3_gather_for_generation": "every rank generates in step where weights are shared out; remove the key",
    "ddp_backend": "set accelerate to an Accelerate config file",
    "accelerator_config": "the batch layout is this package's own; set accelerate for the launch",
    "train_sampling_strategy": "groups stay whole and micro-batches are laid out by length already; set shuffle_dataset",
    "length_column_name": "groups stay whole and micro-batches are laid out by length already; remove the key",
    "label_names": "rewards read the columns of the rows; remove the key",
    "debug": "it watches a forward that is not made here; remove the key",
    "cast_lm_head_to_fp32": "it does not go with an adapter on tied embeddings; set dtype: float32",
    "local_rank": "the launcher says it; remove the key",
    "log_on_each_node": "rank 0 alone writes the run folder; remove the key",
    "save_on_each_node": "rank 0 alone writes the run folder; remove the key",
}
_GROUPS: tuple[tuple[str, str], ...] = (
    (
        "eval_steps eval_delay per_device_eval_batch_size prediction_loss_only eval_on_start eval_do_concat_batches "
        "eval_use_gather_object eval_accumulation_steps include_for_metrics batch_eval_metrics bf16_full_eval fp16_full_eval "
        "do_train do_eval do_predict",
        "validation is this package's own; set validate_every, validation_rows and evaluation",
    ),
    ("load_best_model_at_end metric_for_best_model greater_is_better", "set select: best, which goes by validation"),
    (
        "hub_token hub_model_id hub_strategy hub_always_push hub_revision",
        "an adapter goes out by `journeyman publish RUN`, after the run; remove the key",
    ),
    (
        "dataloader_drop_last dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers "
        "dataloader_prefetch_factor dataloader_multiprocessing_context dataloader_in_order",
        "the loader hands out numbers of rows that are in memory; remove the key",
    ),
    (
        "torch_compile torch_compile_backend torch_compile_mode",
        "lengths differ from step to step, and compiling for each is not supported in this version; remove the key",
    ),
    (
        "sync_ref_model ref_model_mixup_alpha ref_model_sync_steps",
        "the reference of an adapter is the base, which stays as it is; remove the key",
    ),
    (
        "log_completions log_multimodal num_completions_to_print log_unique_prompts log_completions_hub_repo",
        "every rollout is in the run's records/; remove the key",
    ),
    (
        "use_transformers_continuous_batching transformers_continuous_batching_config use_transformers_paged",
        "set use_vllm: true for an engine that batches continuously",
    ),
)
REFUSED = {**_REFUSED, **{key: why for keys, why in _GROUPS for key in keys.split()}}
"""Keys without an effect here, and what to use instead."""

_CLIPPED = ("dapo", "grpo", "bnpo", "dr_grpo", "luspo")
_SERVER = "vllm_server_base_url vllm_server_host vllm_server_port vllm_server_timeout vllm_adapters"
_COLOCATED = "vllm_gpu_memory_utilization vllm_max_model_length vllm_tensor_parallel_size vllm_model_impl"
_CORRECTION = "vllm_importance_sampling_mode vllm_importance_sampling_clip_max vllm_importance_sampling_clip_min"
_WARMING = ("linear", "constant_with_warmup", *(kind.value for kind in SchedulerType if kind.value.startswith("cosine")),
            "polynomial", "inverse_sqrt", "warmup_stable_decay")  # fmt: skip
NEEDS: tuple[tuple[str, str, tuple[Any, ...]], ...] = (
    ("vespo_k_pos vespo_lambda_pos vespo_k_neg vespo_lambda_neg", "loss_type", ("vespo",)),
    ("sapo_temperature_neg sapo_temperature_pos", "loss_type", ("sapo",)),
    ("delta", "loss_type", _CLIPPED),
    ("epsilon epsilon_high", "loss_type", (*_CLIPPED, "cispo")),
    ("importance_sampling_level", "loss_type", (*_CLIPPED, "cispo", "sapo")),
    ("entropy_coef_min entropy_coef_max entropy_coef_delta entropy_target", "use_adaptive_entropy", (True,)),
    ("bnb_4bit_quant_type use_bnb_nested_quant bnb_4bit_quant_storage", "load_in_4bit", (True,)),
    (f"{_SERVER} {_COLOCATED} {_CORRECTION}", "use_vllm", (True,)),
    ("vllm_mode vllm_sync vllm_importance_sampling_correction", "use_vllm", (True,)),
    (_SERVER, "vllm_mode", ("server",)),
    (_COLOCATED, "vllm_mode", ("colocate",)),
    (_CORRECTION, "vllm_importance_sampling_correction", (True,)),
    (
        "warmup_steps",
        "lr_scheduler_type",
        _WARMING,
    ),
    ("save_steps", "save_strategy", ("steps",)),
    ("logging_steps", "logging_strategy", ("steps",)),
    ("gradient_checkpointing_kwargs", "gradient_checkpointing", (True,)),
    ("dynamic_sampling_rounds", "dynamic_sampling", (True,)),
)
"""(keys, another key, its values with which alone they act)."""

LORA_APPLIED = _words(
    """
    r lora_alpha lora_dropout target_modules exclude_modules target_parameters bias lora_bias use_rslora use_dora
    init_lora_weights modules_to_save layers_to_transform layers_pattern rank_pattern alpha_pattern trainable_token_indices
    ensure_weight_tying
    """
)
"""Fields of `lora:` with the effect that they have in PEFT."""
_NOT_HERE = "not supported in this version; remove the key"
_LORA_GROUPS: tuple[tuple[str, str], ...] = (
    ("task_type", "the task is always a causal language model; remove the key"),
    ("inference_mode", "an adapter that is trained is not in inference mode; remove the key"),
    ("peft_type auto_mapping peft_version base_model_name_or_path revision", "PEFT writes it itself; remove the key"),
    ("fan_in_fan_out", "PEFT goes by the kind of each layer; remove the key"),
    ("megatron_config megatron_core runtime_config", _NOT_HERE),
    ("loftq_config eva_config corda_config lora_ga_config", f"weights that begin from data are {_NOT_HERE}"),
    ("velora_config monteclora_config alora_invocation_tokens use_qalora qalora_group_size", _NOT_HERE),
    ("layer_replication use_bdlora arrow_config kasa_config", _NOT_HERE),
)
LORA_REFUSED = {key: why for keys, why in _LORA_GROUPS for key in keys.split()}
"""Fields of `lora:` without an effect here, or with one that the run's other parts would not share."""
LORA_STARTS = (True, False, "gaussian", "orthogonal", "olora", "pissa")
"""Of `init_lora_weights`: the ways to begin that the saved adapter repeats exactly when it is loaded, and that need no data."""

NEVER_TAKEN = frozenset({"vllm_enable_sleep_mode", "vllm_structured_outputs_regex"})
"""Refused by every version, so the config of a run holds them only where it was edited."""

RL_ONLY = _words(
    """
    generation_batch_size steps_per_generation num_iterations shuffle_dataset temperature top_p top_k min_p disable_dropout
    beta epsilon epsilon_high delta loss_type scale_rewards multi_objective_aggregation
    importance_sampling_level sapo_temperature_neg sapo_temperature_pos vespo_k_pos vespo_lambda_pos vespo_k_neg
    vespo_lambda_neg mask_truncated_completions off_policy_mask_threshold use_bias_correction_kl top_entropy_quantile
    entropy_coef use_adaptive_entropy entropy_coef_min entropy_coef_max entropy_coef_delta entropy_target
    router_aux_loss_coef use_vllm vllm_mode vllm_model_impl vllm_server_base_url vllm_server_host vllm_server_port
    vllm_server_timeout vllm_gpu_memory_utilization vllm_max_model_length vllm_tensor_parallel_size
    vllm_importance_sampling_correction vllm_importance_sampling_mode vllm_importance_sampling_clip_max
    vllm_importance_sampling_clip_min
    dynamic_sampling dynamic_sampling_rounds forward_tokens vllm_options vllm_servers vllm_adapters vllm_sync async_rollouts
    max_error_rate
    """
)
"""Keys that the recipe sft, which copies right answers, does nothing with."""
