"""The engine that a config asks for, outside of training: one start of it samples from the base and from adapters on it.

Invariants: what `evaluate`, `try` and the proof sample with is what `train` would: transformers or vLLM, in this process or on
servers, with the same options; a vLLM engine has passed the start-up proof, and again for each adapter, before a token of it
counts; base and adapter are sampled by the same engine.

    with HeldOutEngine(config, env, chat, rows) as engines:
        engine = engines.sampling_from(model, step=0)     # a plain model: the base
        engine = engines.sampling_from(tuned, step=200)   # the same with an adapter on it (PEFT)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

import torch
import transformers
from peft import PeftModel, get_peft_model

from ..configs import BadInput
from ..envs.core import Environment, Row, tools_of
from ..rollouts.chat import Chat, end_ids
from ..rollouts.engine import Engine, SyncFailed
from ..rollouts.proof import prove
from ..rollouts.servers import NoServer, ServersEngine
from ..rollouts.transformers_engine import TransformersEngine
from ..rollouts.vllm_engine import VllmEngine
from ..rollouts.vllm_start import proof_prompts, start
from ..rollouts.vllm_sync import obstacles
from ..trainers.config import RunConfig
from ..trainers.engines import check_engine, plan_of
from ..trainers.rolling import context_length

ROWS = 256
"""Most rollouts that vLLM decodes at once: a benchmark of held-out items is larger than a step of training."""
PATIENCE = 20.0
"""Seconds without any server: somebody waits for the command."""


class HeldOutEngine:
    """Makes the engine on first use.

    Args:
        rows: some of those that will be worked, two of them with different prompts; the start-up proof reads them.

    Raises:
        BadInput: what `train` would refuse of the config's engine; also, within the `with`, an engine that does not sample from
            what it was given, or no server that answers.
    """

    def __init__(self, config: RunConfig, env: Environment, chat: Chat, rows: Sequence[Row]) -> None:
        check_engine(config)
        self._config, self._env, self._chat = config, env, chat
        tools = tools_of(env)
        if tools:
            chat.learn_to_parse()
        self._prompts = [chat.prompt_ids(row["prompt"], tools) for row in rows[:64]]
        self._vllm: VllmEngine | ServersEngine | None = None

    def sampling_from(self, model: Any, step: int) -> Engine:
        """An engine that samples from `model`: a base, or one with an adapter (PEFT), as policy version `step`."""
        ends = end_ids(self._chat.tokenizer, model.generation_config)
        if not self._config.trainer.get("use_vllm"):
            engine = TransformersEngine(
                model, self._chat.tokenizer.pad_token_id, ends, self._config.job.decode_rows
            )  # fmt: skip
            engine.sync(None, step)
            return engine
        context = context_length(model.config) or 4096
        if isinstance(model, PeftModel):
            if self._vllm is None:
                self._vllm = self._started(model, ends, context)
            prove(self._vllm, model, proof_prompts(self._prompts, context), step)
            return self._vllm
        if self._vllm is None:
            # A plain adapter, to prove that adapters take effect; the layers that it was put on are as before afterwards.
            adapted = get_peft_model(model, replace(self._config.lora, init_lora_weights=True))
            self._vllm = self._started(adapted, ends, context)
            adapted.unload()
            if hasattr(model, "peft_config"):
                del model.peft_config
        self._vllm.sample_base(step)
        return self._vllm

    def _started(self, model: Any, ends: Sequence[int], context: int) -> VllmEngine | ServersEngine:
        plan = plan_of(self._config, self._config.arguments(), self._env, context)
        assert plan is not None
        way = plan.way
        if way == "auto" and not plan.servers:
            way = "adapter" if not obstacles(model, "adapter") else "merged"  # timing both is worth it for a whole run
        plan = replace(plan, way=way, rows=min(self._config.job.decode_rows, ROWS), patience=PATIENCE)
        return start(plan, model, ends, self._prompts)[0]

    def __enter__(self) -> HeldOutEngine:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._vllm is not None:
            self._vllm.close()
            self._vllm = None
        if isinstance(error, NoServer):
            raise BadInput(
                f"{self._config.path}: vllm_mode: server: {error}; start one with `journeyman serve-rollouts`, or set "
                "use_vllm: false"
            ) from error
        if isinstance(error, SyncFailed):
            raise BadInput(f"{self._config.path}: use_vllm: {error}; or set use_vllm: false") from error


def engine_facts(config: RunConfig) -> dict[str, Any]:
    """Which engine `config` asks for and its versions: part of what a held-out figure is recorded with; nothing is started."""
    if not config.trainer.get("use_vllm"):
        return {"name": "transformers", "version": transformers.__version__, "torch": torch.__version__}
    if config.trainer.get("vllm_mode") == "server":
        return {"name": "vllm servers", "version": None, "torch": None}  # theirs may be another machine's
    check_engine(config)
    import vllm

    return {"name": "vllm", "version": vllm.__version__, "torch": torch.__version__, "options": config.job.vllm_options}
