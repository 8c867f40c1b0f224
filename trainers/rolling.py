"""What every trainer here has in common: an engine that samples from the policy in training, in step on every rank."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from accelerate.utils import DistributedType

from ..rollouts.chat import Chat, end_ids
from ..rollouts.engine import Engine
from ..rollouts.transformers_engine import TransformersEngine
from ..rollouts.vllm_start import Plan, start


class Rolling:
    """Mixed into a transformers Trainer: `engine`, made on first use, when Accelerate has put the model where it stays."""

    model: Any
    accelerator: Any
    chat: Chat
    decode_rows: int = 1024
    """Rollouts decoded at once."""
    plan: Plan | None = None
    """The vLLM engine that the run wants; None for the engine that shares the trainer's weights."""
    sample_prompts: Sequence[Sequence[int]] = ()
    """Some of the job's prompts, for its start."""
    engine_facts: Mapping[str, Any] = MappingProxyType({})
    """What was found when the engine started, for run.json."""
    _engine: Engine | None = None

    def sync(self, step: int) -> None:
        """Let the engine sample from the policy as it is after `step` optimizer steps; a collective call."""
        self.engine.sync(self.model if self.plan is None else self.accelerator.unwrap_model(self.model), step)

    @property
    def engine(self) -> Engine:
        """Samples from the policy as it is now."""
        ends = end_ids(self.chat.tokenizer, getattr(self.model, "generation_config", None))
        if self._engine is None and self.plan is not None:
            model = self.accelerator.unwrap_model(self.model)
            self._engine, self.engine_facts = start(self.plan, model, ends, self.sample_prompts)
            if self.accelerator.is_main_process:
                why = self.engine_facts.get("why", "as the config has it")
                print(f"engine: vLLM, the adapter by way of '{self.engine_facts['sync']}' ({why})", file=sys.stderr)
        elif self._engine is None:
            self._engine = TransformersEngine(
                self.model, self.chat.tokenizer.pad_token_id, ends, max_rows=self.decode_rows,
                any_rank=self.any_rank if self.sharded else None,
            )  # fmt: skip
            self.engine_facts = {"engine": "transformers"}
        return self._engine

    def close_engine(self) -> None:
        """Free what the engine holds; it starts again when it is asked."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    @property
    def sharded(self) -> bool:
        """Whether a forward is a collective call, so that every rank must make the same number of them."""
        return self.accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED)

    def any_rank(self, mine: bool) -> bool:
        """Whether `mine` is true on any rank; a collective call where there are several."""
        if self.accelerator.num_processes == 1:
            return mine
        flag = torch.tensor([int(mine)], device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, reduction="sum").item())


def context_length(config: Any) -> int | None:
    """Most tokens the model can read, or None where its configuration doesn't say."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def next_token_logits(model: Any, ids_BT: torch.Tensor, mask_BT: torch.Tensor, C: int) -> torch.Tensor:
    """Logits [B, C, V] that predict the last C tokens of each row: the head is applied to those positions alone."""
    positions_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
    return model(
        input_ids=ids_BT, attention_mask=mask_BT, position_ids=positions_BT, logits_to_keep=C + 1, use_cache=False
    ).logits[:, :-1]
