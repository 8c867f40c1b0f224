"""The adapter on its way to an engine: its tensors, and versioned folders of them in shared memory.

Always true here: a folder holds one version and is whole under its name; the tensors in it are copies, so that an engine which
scales them in place touches nobody's; the last two versions are kept, older ones go.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict
from peft.tuners.lora.layer import LoraLayer
from safetensors.torch import save_file

SHARED_MEMORY = Path("/dev/shm")
KEPT = 2
PREFIX = "journeyman-adapter-"


def adapter_state(model: Any) -> dict[str, torch.Tensor]:
    """A copy of the adapter's tensors on the CPU, whole also where they are sharded (a collective call then)."""
    state = {}
    # Without this PEFT would add the whole embedding where the adapter has a part in it.
    for name, tensor in get_peft_model_state_dict(model, save_embedding_layers=False).items():
        state[name] = whole(tensor).detach().cpu().clone().contiguous()
    return state


def at_scale_one(model: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The adapter of `model` (PEFT) as (configuration, tensors) with every layer's scale multiplied into its `lora_B`.

    Engines read `lora_alpha` and `r`, and vLLM nothing of `alpha_pattern`: at scale 1 there is nothing to misread. Over a base
    of 16 bits the tensors are rounded to its dtype, once, as an engine would on loading them: half the bytes. Linear layers
    alone; the `lora_A` may be the model's own, to be read and not written.
    """
    config, state = model.peft_config["default"].to_dict(), {}
    for name, layer in model.named_modules():
        if isinstance(layer, LoraLayer) and "default" in layer.lora_A:
            A, B = (whole(part["default"].weight).detach() for part in (layer.lora_A, layer.lora_B))
            dtype: Any = layer.get_base_layer().weight.dtype
            if not dtype.is_floating_point or dtype.itemsize != 2:  # else an engine computes in it
                dtype = A.dtype
            state[f"{name}.lora_A.weight"] = A.to(dtype).cpu().contiguous()
            state[f"{name}.lora_B.weight"] = (B * layer.scaling["default"]).to(dtype).cpu().contiguous()
    one = {"lora_alpha": config["r"], "alpha_pattern": config["rank_pattern"], "use_rslora": False}
    return {**config, **one}, state


def whole(tensor: Any) -> torch.Tensor:
    """A tensor as it is; gathered where it is shared out over ranks (a collective call then)."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


class AdapterFiles:
    """Writes versions of an adapter where engines on this machine can read them.

    Args:
        folder: where; shared memory where None, or the folder for temporary files where that is too small.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._given = folder
        self.folder: Path | None = None
        self._config = ""
        self._lock: Any = None

    def write(self, model: Any, version: int) -> tuple[Path, int]:
        """Write the adapter of `model` (PEFT, unwrapped) as `policy-v<version>`: its folder, and its bytes.

        Versions only rise: the two highest are kept.
        """
        config, state = at_scale_one(model)
        size = sum(tensor.nbytes for tensor in state.values())
        if self.folder is None:
            place = self._given or _place(KEPT * size + size)
            if self._given is None:
                _sweep(place)
            made = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=place))  # no sweep sees it before it is locked
            self._lock, self.folder = _locked(made), made.with_name(made.name[1:])
            made.rename(self.folder)
            self._config = json.dumps(_plain(config), indent=1)
        final, partial = self.folder / f"policy-v{version}", self.folder / f".policy-v{version}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        (partial / "adapter_config.json").write_text(self._config, encoding="utf-8")
        save_file(state, partial / "adapter_model.safetensors")
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        for old in sorted(self.folder.glob("policy-v*"), key=_number)[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
        return final, size

    def close(self) -> None:
        """Remove all of them."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None
            if self._lock is not None:
                self._lock.close()


def _locked(folder: Path) -> Any:
    """A hold on `folder` that ends with this process; None where another process has one."""
    try:
        file = (folder / ".lock").open("w")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return None
    return file


def _sweep(place: Path) -> None:
    """Remove what processes that are gone have left there."""
    for folder in place.glob(f"{PREFIX}*"):
        if lock := _locked(folder):
            shutil.rmtree(folder, ignore_errors=True)
            lock.close()


def _number(path: Path) -> int:
    return int(path.name.rpartition("-v")[2])


def _place(needed: int) -> Path:
    """Shared memory where it is there and has room (a container's has 64 MB), else the folder for temporary files."""
    if (
        SHARED_MEMORY.is_dir()
        and os.access(SHARED_MEMORY, os.W_OK)
        and shutil.disk_usage(SHARED_MEMORY).free > 2 * needed
    ):
        return SHARED_MEMORY
    return Path(tempfile.gettempdir())


def _plain(value: Any) -> Any:
    """A PEFT configuration as JSON has it."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(_plain(entry) for entry in value)
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
