"""The two ways an adapter gets into vLLM: as an adapter of its own, or merged into the engine's copy of the weights.

Always true here: the trainer's base is read and never written; each push has a number of its own, so that a cached prefix or
an adapter of an earlier one can't be taken for it.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora.layer import Linear, LoraLayer

from ..configs.errors import BadInput
from .adapter_files import AdapterFiles, whole
from .engine import SyncFailed
from .vllm_lora import read_once
from .vllm_weights import keep_weights_writable

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes for `max_lora_rank`."""


class AdapterSync:
    """Versioned LoRA requests over files in shared memory: the bytes of the adapter, and slower decoding.

    Args:
        rank: the largest rank of any layer.
    """

    name = "adapter"

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.lora_request: Any = None
        self._files, self._pushes, self._llm = AdapterFiles(), 0, None

    def engine_options(self) -> dict[str, Any]:
        """Fields of `EngineArgs`."""
        rank = next((r for r in RANKS if r >= self.rank), None)
        if rank is None:
            raise BadInput(
                f"lora.r is {self.rank}; vLLM takes adapters of rank up to {RANKS[-1]}: use vllm_sync: merged"
            )
        return {"enable_lora": True, "max_lora_rank": rank, "max_loras": 1, "max_cpu_loras": 2}

    def attach(self, llm: Any) -> None:
        """The engine has started."""
        self._llm = llm
        if not torch.cuda.is_available():
            read_once(llm)

    def push(self, model: Any) -> int:
        """Load the adapter of `model` (PEFT); returns its bytes.

        Raises:
            SyncFailed: the engine did not load it.
        """
        from vllm.lora.request import LoRARequest

        assert self._llm is not None
        self._pushes += 1
        folder, size = self._files.write(model, self._pushes)
        request, earlier = LoRARequest(f"policy-v{self._pushes}", self._pushes, str(folder)), self.lora_request
        if not self._llm.add_lora(request) or self._pushes not in self._llm.list_loras():
            raise SyncFailed(f"vLLM did not load the adapter of push {self._pushes} from {folder}")
        if earlier is not None:
            self._llm.remove_lora(earlier.lora_int_id)
        self.lora_request = request
        return size

    def leave(self) -> None:
        """Let the engine go without the adapter, until the next push."""
        assert self._llm is not None
        if self.lora_request is not None:
            self._llm.remove_lora(self.lora_request.lora_int_id)
            self.lora_request = None
        self._llm.reset_prefix_cache()  # what the base has read is kept under no adapter's name

    def close(self) -> None:
        """Remove the files."""
        self._files.close()


class MergedSync:
    """W + BA computed into the engine's own weights: as many bytes as the adapted layers have, and plain decoding."""

    name = "merged"
    lora_request = None

    def __init__(self) -> None:
        self._llm: Any = None
        self._engine: Any = None
        self._model: Any = None
        self._places: list[tuple[Any, torch.Tensor]] = []

    def engine_options(self) -> dict[str, Any]:
        """Fields of `EngineArgs`; on a CPU vLLM is kept from packing weights away where nobody can write them."""
        if not torch.cuda.is_available():
            keep_weights_writable()
        return {}

    def attach(self, llm: Any) -> None:
        """The engine has started."""
        self._llm = llm
        self._engine = llm.model_executor.driver_worker.model_runner.get_model()  # without what captures CUDA graphs

    @torch.no_grad()
    def push(self, model: Any) -> int:
        """Write the merged weights of every adapted layer of `model` (PEFT); returns their bytes.

        Raises:
            SyncFailed: a layer has no writable counterpart in the engine, or what it has cached can't be forgotten.
        """
        if self._model is not model:
            self._model = model
            params = dict(self._engine.named_parameters())
            fused = getattr(self._engine, "packed_modules_mapping", {})
            self._places = [
                (layer, _place(params, fused, model, name)) for name, layer in model.named_modules() if _adapted(layer)
            ]
        for layer, target in self._places:
            merge_into(target, layer)
        self._forget()
        return sum(target.nbytes for _, target in self._places)

    @torch.no_grad()
    def leave(self) -> None:
        """Write the base's own weights back.

        Raises:
            SyncFailed: what the engine has cached can't be forgotten.
        """
        for layer, target in self._places:
            target.copy_(whole(_weight(layer)))
        self._forget()

    def _forget(self) -> None:
        if not self._llm.reset_prefix_cache():
            raise SyncFailed(
                "merged mode: vLLM did not forget what it cached under the weights before (reset_prefix_cache)"
            )

    def close(self) -> None:
        """Let go of the engine's weights."""
        self._llm = self._engine = self._model = None
        self._places = []


def _adapted(module: Any) -> bool:
    """Whether a layer belongs to the policy's adapter (a critic below the same model has one of another name)."""
    return isinstance(module, LoraLayer) and "default" in module.lora_A


def _place(params: dict[str, Any], fused: dict[str, list[str]], model: Any, name: str) -> torch.Tensor:
    """The rows of the engine's weight that belong to the layer called `name` in the trainer's model.

    Args:
        fused: vLLM's `packed_modules_mapping`: the engine's name of a layer that holds several of the trainer's, in order.
    """
    before, start = name.rpartition(".")[0], 0
    plain = name.removeprefix("base_model.model.")
    prefix, _, leaf = plain.rpartition(".")
    for joint, parts in fused.items():
        if leaf in parts and f"{prefix}.{joint}.weight" in params:
            plain = f"{prefix}.{joint}"
            others = [model.get_submodule(f"{before}.{part}") for part in parts[: parts.index(leaf)]]
            start = sum(_weight(other).shape[0] for other in others)
    weight, (rows, columns) = params.get(f"{plain}.weight"), _weight(model.get_submodule(name)).shape
    if weight is None or weight.dim() != 2 or weight.size(1) != columns or weight.size(0) < start + rows:
        why = (
            "there is none of that name" if weight is None
            else "it was packed away for the processor's own kernels" if not weight.numel()
            else f"its shape is {tuple(weight.shape)}, and the layer's {(rows, columns)}"
        )  # fmt: skip
        raise SyncFailed(
            f"merged mode: vLLM keeps no weight of {name} that can be written ({why}); use vllm_sync: adapter"
        )
    return weight.data[start : start + rows]


def _weight(module: Any) -> torch.Tensor:
    owner: Any = module.get_base_layer() if isinstance(module, LoraLayer) else module
    weight: torch.Tensor = owner.weight
    return weight


def merge_into(target: torch.Tensor, layer: Any) -> None:
    """Write W + s B A of an adapted layer into `target`, rounded once; the layer is only read."""
    (adapter,) = layer.active_adapters
    base = whole(_weight(layer))
    if adapter in layer.lora_variant:  # DoRA
        target.copy_(layer.lora_variant[adapter].merge_safe(layer, adapter, base))
        return
    A, B = whole(layer.lora_A[adapter].weight), whole(layer.lora_B[adapter].weight)
    if {base.dtype, A.dtype, target.dtype} == {torch.float32} and base.device == target.device:
        torch.addmm(base, B, A, alpha=layer.scaling[adapter], out=target)
    else:
        target.copy_(torch.addmm(base.float(), B.float(), A.float(), alpha=layer.scaling[adapter]))


def obstacles(model: Any, way: str) -> str:
    """Why the adapter of `model` (PEFT) can't get into vLLM in this way; "" where it can.

    Args:
        way: adapter or merged.
    """
    config = model.peft_config["default"]
    layers = {name: module for name, module in model.named_modules() if _adapted(module)}
    heads = [name for name in layers if name.endswith("lm_head")]
    if config.modules_to_save:
        return f"modules_to_save ({', '.join(config.modules_to_save)}) is trained beside the adapter, which vLLM does not take"
    if any("default" in module.lora_embedding_A for module in model.modules() if isinstance(module, LoraLayer)):
        return "the embedding is adapted, which vLLM does not take"
    if way == "adapter":
        return (
            "DoRA is no plain adapter" if config.use_dora else "lm_head is adapted, which vLLM does not take" if heads
            else "lora_bias is set, which vLLM does not take" if getattr(config, "lora_bias", False) else ""
        )  # fmt: skip
    if heads and model.config.get_text_config().tie_word_embeddings:
        return "lm_head is adapted and shares its weight with the embedding"
    others = [name for name, module in layers.items() if not isinstance(module, Linear) or module.fan_in_fan_out]
    if others:
        return f"{others[0]} is no plain linear layer"
    if getattr(model, "is_loaded_in_4bit", False) or getattr(model, "is_loaded_in_8bit", False):
        return "the base is quantized, and merged weights would not be"
    return ""
