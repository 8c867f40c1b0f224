"""Which engine a config asks for: TRL's own `vllm_*` keys, and ours beside them, as a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..configs import BadInput
from ..envs.core import Environment
from ..rollouts.vllm_engine import check_installed
from ..rollouts.vllm_start import Plan
from .config import RunConfig
from .models import base_path


def check_engine(config: RunConfig) -> None:
    """What can be known to be wrong before anything is loaded.

    Raises:
        BadInput: vLLM isn't installed, or a key that this engine does not take, or rollouts ahead of training where it and the
            engine share a device.
    """
    given = config.trainer
    if config.job.async_rollouts:
        _check_ahead(config)
    if not given.get("use_vllm"):
        for key in ("vllm_options", "vllm_servers"):
            if getattr(config.job, key):
                raise BadInput(f"{config.path}: {key} is set and use_vllm is not; set use_vllm: true, or remove it")
        return
    if given.get("vllm_mode") == "server":
        if config.job.vllm_options:
            raise BadInput(
                f"{config.path}: vllm_options are for a vLLM in this process; give them to `journeyman serve-rollouts`"
            )
        if config.job.vllm_sync == "merged":
            raise BadInput(
                f"{config.path}: vllm_sync: servers take the adapter alone; leave it at auto, or set vllm_mode: colocate"
            )
    elif config.job.vllm_servers:
        raise BadInput(
            f"{config.path}: vllm_servers is set and vllm_mode is colocate; set vllm_mode: server, or remove it"
        )
    else:
        check_installed()
    corrects = given.get("vllm_importance_sampling_correction", True)
    mode = str(given.get("vllm_importance_sampling_mode", "sequence_mask"))
    if given.get("loss_type") == "vespo" and corrects and not mode.startswith("token"):
        raise BadInput(
            f"{config.path}: loss_type vespo wants vllm_importance_sampling_mode: token_truncate or token_mask"
        )


def _check_ahead(config: RunConfig) -> None:
    given = config.trainer
    why = (
        "this engine samples from the trainer's own weights" if not given.get("use_vllm")
        else "a vLLM in this process shares the trainer's device" if given.get("vllm_mode") != "server" else ""
    )  # fmt: skip
    if why:
        raise BadInput(
            f"{config.path}: async_rollouts: {why}, so that nothing can be generated while it trains; set use_vllm: true and "
            "vllm_mode: server (journeyman serve-rollouts), or async_rollouts: 0"
        )
    if not given.get("vllm_importance_sampling_correction", True):
        raise BadInput(
            f"{config.path}: async_rollouts trains on tokens of the policy before, which "
            "vllm_importance_sampling_correction: false leaves uncorrected; set it to true, or async_rollouts: 0"
        )


def plan_of(config: RunConfig, args: Any, env: Environment, context: int) -> Plan | None:
    """The vLLM engine that `config` asks for; None for the one that shares the trainer's weights."""
    if not args.use_vllm:
        return None
    rows = min(args.per_device_train_batch_size * args.steps_per_generation, config.job.decode_rows)
    options: dict[str, Any] = {
        "gpu_memory_utilization": args.vllm_gpu_memory_utilization, "model_impl": args.vllm_model_impl,
        "tensor_parallel_size": args.vllm_tensor_parallel_size, "trust_remote_code": bool(args.trust_remote_code),
        "revision": config.model.model_revision if config.model.model_name_or_path != "nano" else None,
        "max_model_len": args.vllm_max_model_length,
    }  # fmt: skip
    servers: tuple[str, ...] = ()
    if args.vllm_mode == "server":
        one = args.vllm_server_base_url or f"http://{args.vllm_server_host}:{args.vllm_server_port}"
        servers = tuple(config.job.vllm_servers or [one])
    return Plan(
        base_path(config, env), str(config.model.dtype or "float32"), config.job.vllm_sync, context, rows,
        args.per_device_train_batch_size * args.steps_per_generation * config.max_tokens,
        {**{key: value for key, value in options.items() if value is not None}, **config.job.vllm_options},
        servers, Path(config.job.vllm_adapters) if config.job.vllm_adapters else None, args.vllm_server_timeout,
    )  # fmt: skip
