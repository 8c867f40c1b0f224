"""One side of `journeyman bench update`: a trainer, and updates of one batch to order.

Always true here: an update is the trainer's own `_compute_loss` and backward passes, micro-batch by micro-batch, timed until the
device is done; peak memory is what it takes beyond what was there before it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ..trainers.estimate import Shape
from .bench_side import serve
from .random_models import LIKE
from .workload import batch_of, workload


class Here:
    """A side in this process, with the face of `Side`."""

    def __init__(self, side: str) -> None:
        self._updates, self._answer = Updates(side), dict[str, Any]()

    def tell(self, **order: Any) -> None:
        """Give an order whose answer is fetched later."""
        self._answer = self._updates(order)

    def answer(self) -> dict[str, Any]:
        """The answer to the order before."""
        return self._answer

    def ask(self, **order: Any) -> dict[str, Any]:
        """Give an order and return its answer."""
        return self._updates(order)

    def close(self) -> None:
        """Let go of the trainer."""
        self._updates.trainer = None


class Updates:
    """A side's process: a trainer on the model of the last order that named one, and updates to order."""

    def __init__(self, side: str) -> None:
        self.side, self.trainer, self.base, self.forwarded = side, None, 0, 0
        self._batches: dict[tuple[str, int], dict[str, Any]] = {}
        self._warm: set[tuple[str, int]] = set()

    def __call__(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Answer an order."""
        return self.take(order["model"]) if "model" in order else self.update(order)

    def take(self, name: str) -> dict[str, Any]:
        """Build the trainer; says what the model is, and on a GPU how fast that multiplies matrices."""
        import torch

        from .bench_trainers import make_trainer, reset_peak
        from .floors import matmul_speed

        self.trainer, self._batches, self._warm = None, {}, set()
        self._release()
        given = {"model": _adapted(name)} if name in LIKE else {"folder": name or None}
        self.trainer = trainer = make_trainer(self.side, **given)
        device = trainer.accelerator.device
        trainer.model.get_base_model().get_input_embeddings().register_forward_hook(self._count)
        facts = {"device": "cpu", "flops": 0.0, "shape": asdict(_shape(trainer.model))}
        if device.type == "cuda":
            facts |= {"device": torch.cuda.get_device_name(), "flops": matmul_speed(2) if self.side == "ours" else 0.0}
            self._release()
        self.base = reset_peak(device)  # the model and what Python holds
        return facts

    def _count(self, module: Any, args: Any, out: Any) -> None:
        self.forwarded += args[0].numel()

    def update(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """One update in micro-batches of `batch` rows: seconds, peak bytes above the model's, forwarded tokens."""
        import torch

        from .bench_trainers import peak_memory, reset_peak

        trainer = self.trainer
        assert trainer is not None
        device, key = trainer.accelerator.device, (order["shape"], order["groups"])
        if key not in self._batches:
            self._batches[key] = batch_of(workload(*key), trainer.model.config.vocab_size, str(device))
        batch, cuda = self._batches[key], device.type == "cuda"
        setting = (order["shape"], order["batch"]) if cuda else ("", 0)
        try:
            for timed in (True,) if setting in self._warm else (False, True):
                trainer.model.zero_grad(set_to_none=True)
                self.forwarded = 0
                base = reset_peak(device)
                if cuda:
                    torch.cuda.synchronize()
                    self.base = base
                began = time.perf_counter()
                self._accumulate(batch, order["batch"])
                if cuda:
                    torch.cuda.synchronize()
                seconds = time.perf_counter() - began if timed else 0.0
        except torch.OutOfMemoryError:
            trainer.model.zero_grad(set_to_none=True)
            self._release()
            return {"out_of_memory": True}
        self._warm.add(setting)
        peak = peak_memory(device) - self.base
        if order["gradient"]:
            grads = [p.grad.flatten().cpu() for _, p in sorted(trainer.model.named_parameters()) if p.grad is not None]
            torch.save(torch.cat(grads), order["gradient"])
        trainer.model.zero_grad(set_to_none=True)
        return {"seconds": seconds, "peak": peak, "tokens": self.forwarded, "sharing": getattr(trainer, "unshared", "")}

    def _accumulate(self, batch: dict[str, Any], rows: int) -> None:
        from trl.trainer.utils import split_tensor_dict

        trainer: Any = self.trainer
        steps = len(batch["advantages"]) // rows
        trainer.args.steps_per_generation = trainer.current_gradient_accumulation_steps = steps
        for part in split_tensor_dict(batch, steps):
            trainer.accelerator.backward(trainer._compute_loss(trainer.model, part))

    def _release(self) -> None:
        """Give back what the allocator keeps; it is warm no more."""
        import gc

        import torch

        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            self._warm.clear()


def _adapted(name: str) -> Any:
    """A random model of a published architecture with the presets' LoRA, which already does something."""
    import torch
    from peft import LoraConfig, get_peft_model

    from .random_models import random_model

    lora = LoraConfig(task_type="CAUSAL_LM", r=32, lora_alpha=64, target_modules="all-linear")
    model = get_peft_model(random_model(name), lora)
    for key, parameter in sorted(model.named_parameters()):
        if "lora_B" in key:
            torch.nn.init.normal_(parameter, std=0.02)
    return model


def _shape(model: Any) -> Shape:
    from ..trainers.estimate import shape_of

    adapter = sum(p.numel() for p in model.parameters() if p.requires_grad)
    whole = sum(p.numel() for p in model.parameters()) - adapter
    return shape_of(model.config, whole, adapter)


if __name__ == "__main__":
    serve(Updates(sys.argv[1]))
