"""Base models by name, and adapters on them: `nano` is built and cached, anything else is a Hub id or a folder.

Always true here: a model that can't be had is bad input, with the reason; an adapter folder is plain PEFT, written to a
temporary name and moved into place whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import transformers
from huggingface_hub.errors import HFValidationError
from peft import PeftModel, set_peft_model_state_dict
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from trl import get_quantization_config

from ..configs import BadInput
from ..configs.schema import check_keys, coerce, field_types
from ..envs.core import Environment
from ..rollouts.chat import Chat
from .config import RunConfig
from .nano import NanoOptions, nano_base

NANO = "nano"
_TEXTS = (
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "*.jinja",
    "vocab.*",
    "merges.txt",
    "special_tokens_map.json",
)
TOKENS = ("vocab_size", "across_words", "demonstrations")
"""Options of nano's that make other tokens of the same texts."""


@dataclass(frozen=True)
class Base:
    """Which model a run started from, as its `run.json` says it."""

    name: str
    """`nano-<job>`, a Hub id, or a folder's name."""
    revision: str | None
    """Commit of the Hub repository, where it came from there."""
    sha256: str | None
    """Of the weights, for the embedded model and one in a folder; a Hub repository's commit says as much."""
    hub_id: str | None
    build: str | None
    """The command that builds it, for the embedded model."""
    files: Mapping[str, str] | None = None
    """Where it is a folder: hashes of its configuration, tokenizer and chat template."""

    def as_dict(self) -> dict[str, Any]:
        """For `run.json`."""
        return asdict(self)


def base_path(config: RunConfig, env: Environment, critic_nano: Mapping[str, Any] = MappingProxyType({})) -> str:
    """What `from_pretrained` takes: nano's cache folder (built first where needed), else the name as given.

    Args:
        critic_nano: laid on the config's options, for an embedded model of the critic's own.
    """
    options = nano_options(config, critic_nano)
    if options is None:
        return str(config.model.model_name_or_path)
    elsewhere = None
    if os.environ.get("WORLD_SIZE", "1") != "1":
        overrides = {**config.overrides, "recipe": config.recipe}
        if critic_nano:
            overrides["nano"] = {**config.job.nano, **critic_nano}
        elsewhere = [str(config.path), *(f"--{key}={json.dumps(value)}" for key, value in overrides.items())]
    return str(nano_base(env, str(config.job.job), options, elsewhere))


def nano_options(config: RunConfig, critic_nano: Mapping[str, Any] = MappingProxyType({})) -> NanoOptions | None:
    """The checked options of the config's embedded model, or of its critic's; None where the policy is another model.

    Raises:
        BadInput: an unknown key, a value of another type, a critic whose tokens would be others than the policy's.
    """
    embedded, hints = config.model.model_name_or_path == NANO, field_types(NanoOptions)
    if critic_nano and not embedded:
        raise BadInput(
            f"{config.path}: critic_nano: the policy is {config.model.model_name_or_path}, not nano, and their tokens "
            "differ; set critic_model_name_or_path instead"
        )
    if not embedded:
        return None
    for key in TOKENS:
        if key in critic_nano:
            raise BadInput(
                f"{config.path}: critic_nano: {key}: the critic reads the policy's tokens; set nano.{key} for both"
            )
    values: dict[str, Any] = {}
    for name, given in (("nano", config.job.nano), ("critic_nano", critic_nano)):
        where = f"{config.path}: {name}"
        check_keys(given, hints, where)
        values |= {key: coerce(value, hints[key], key, where) for key, value in given.items()}
    return NanoOptions(**values)


def build_embedded(config: RunConfig, env: Environment) -> None:
    """Build what a run needs of embedded models: before TRL's arguments, for a warm start has arguments of its own, and before
    two processes ask."""
    base_path(config, env)
    if config.recipe == "ppo" and (critic_nano := config.trainer.get("critic_nano")):
        base_path(config, env, critic_nano)


def load_base(config: RunConfig, env: Environment) -> tuple[Any, Chat, Base]:
    """The base model (on CPU, or placed as its quantization asks), its chat, and what it is.

    Raises:
        BadInput: not to be found (offline, misspelled), no causal language model, or 4-bit where it can't run.
    """
    path = base_path(config, env)
    model = load_model(config, path)
    chat = load_chat(config, path)
    if config.model.model_name_or_path == NANO:
        build = f"journeyman nano {config.job.job}"
        base = Base(f"nano-{config.job.job}", None, weights_hash(Path(path)), None, build, text_hashes(Path(path)))
    elif Path(path).is_dir():
        base = Base(model_name(path), None, weights_hash(Path(path)), None, None, text_hashes(Path(path)))
    else:
        base = Base(path, getattr(model.config, "_commit_hash", None), None, path, None)
    return model, chat, base


def weights_hash(folder: Path) -> str | None:
    """SHA-256 of a model's weights: of the one file, or over those of all its files; None where it has none."""
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    found = []
    for file in files:
        with file.open("rb") as stream:
            found.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest() if found else None


def text_hashes(folder: Path) -> dict[str, str]:
    """Hash of each file of a model that decides how it reads and writes, apart from its weights."""
    found = {}
    for file in sorted(p for pattern in _TEXTS for p in folder.glob(pattern)):
        content = file.read_bytes()
        if file.suffix == ".json" and file.name.endswith("config.json"):
            with contextlib.suppress(ValueError):
                values = json.loads(content)
                values.pop("transformers_version", None)  # who wrote it
                content = json.dumps(values, sort_keys=True).encode()
        found[file.name] = hashlib.sha256(content).hexdigest()[:16]
    return found


def model_name(path: str) -> str:
    """A Hub id as it is; of a folder its name."""
    return Path(path).name if Path(path).is_dir() else path


def load_model(config: RunConfig, path: str, key: str = "model_name_or_path") -> Any:
    """The causal language model behind `path`, which the config names under `key`, in the config's precision."""
    model = _from_pretrained(AutoModelForCausalLM, config, path, key, **_model_options(config))
    _check_router(config, model)
    return model


def load_chat(config: RunConfig, path: str) -> Chat:
    """The tokenizer behind `path`, and the way the config renders prompts with it."""
    tokenizer = _from_pretrained(AutoTokenizer, config, path)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if type(getattr(backend, "model", None)).__name__ == "BPE":
        # Where a tokenizer asks for it, transformers ignores it with a warning.
        tokenizer.clean_up_tokenization_spaces = False
    return Chat(tokenizer, _template_kwargs(config), config.job.raw_prompt)


def tokens_of(config: RunConfig, path: str) -> dict[str, int] | None:
    """Token -> id of the tokenizer behind `path`; None for a folder that holds weights alone."""
    if Path(path).is_dir() and not any(Path(path).glob("tokenizer*")):
        return None
    return dict(_from_pretrained(AutoTokenizer, config, path, "critic_model_name_or_path").get_vocab())


def _template_kwargs(config: RunConfig) -> Mapping[str, Any]:
    kwargs = config.trainer.get("chat_template_kwargs") or {}
    if not isinstance(kwargs, Mapping):
        raise BadInput(f"{config.path}: chat_template_kwargs is {kwargs!r}; it should be a mapping")
    return kwargs


def model_shape(config: RunConfig, path: str, key: str = "model_name_or_path") -> Any:
    """The architecture behind `path`, which the config names under `key`, without weights (on the meta device): for estimates."""
    shape = _from_pretrained(AutoConfig, config, path, key)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(shape)
    _check_router(config, model)
    return model


def _check_router(config: RunConfig, model: Any) -> None:
    if config.trainer.get("router_aux_loss_coef") and not hasattr(
        model.config.get_text_config(), "output_router_logits"
    ):
        raise BadInput(
            f"{config.path}: router_aux_loss_coef: {type(model).__name__} has no experts to route to; remove the key"
        )


def _model_options(config: RunConfig) -> dict[str, Any]:
    model = config.model
    options: dict[str, Any] = {"dtype": model.dtype or "float32"}
    if model.attn_implementation:
        options["attn_implementation"] = model.attn_implementation
    if model.load_in_4bit or model.load_in_8bit:
        name = "load_in_4bit" if model.load_in_4bit else "load_in_8bit"
        if importlib.util.find_spec("bitsandbytes") is None:
            raise BadInput(f"{config.path}: {name} needs the package bitsandbytes: pip install bitsandbytes")
        if not torch.cuda.is_available():
            raise BadInput(f"{config.path}: {name} needs a CUDA GPU and this machine shows none; set it to false")
        options["quantization_config"] = get_quantization_config(model)
        options["device_map"] = {"": torch.cuda.current_device()}
    return options


def _from_pretrained(
    cls: Any, config: RunConfig, path: str, key: str = "model_name_or_path", **options: Any
) -> Any:  # fmt: skip
    transformers.utils.logging.disable_progress_bar()
    model = config.model
    if model.model_name_or_path == NANO and key == "model_name_or_path":
        return cls.from_pretrained(path, **options)
    try:
        return cls.from_pretrained(
            path,
            revision=model.model_revision if key == "model_name_or_path" else None,
            trust_remote_code=bool(config.trainer.get("trust_remote_code", False)),
            **options,
        )
    except (OSError, HFValidationError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        embedded = "use 'nano'" if key == "model_name_or_path" else "set critic_nano for an embedded one"
        raise BadInput(
            f"{config.path}: {key}: '{path}' can't be loaded; check the name and the connection (or "
            f"HF_HUB_OFFLINE), give a folder, or {embedded} ({type(error).__name__}: {reason})"
        ) from error


@torch.no_grad()
def base_checksum(model: Any) -> str:
    """A sum over the bits of every frozen parameter on this rank: any that changed changes it, in all likelihood."""
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        if parameter.requires_grad:
            continue
        local = (parameter.to_local() if hasattr(parameter, "to_local") else parameter).detach().contiguous()
        bits = local.view(torch.uint8).flatten()
        first, second = torch.zeros((), dtype=torch.int64), torch.zeros((), dtype=torch.int64)
        for part in bits[: bits.numel() // 4 * 4].view(torch.int32).split(2**24):
            wide = part.long()
            first += wide.sum().cpu()
            second += (wide * wide).sum().cpu()
        tail = bits[bits.numel() // 4 * 4 :].long().sum().cpu()
        digest.update(f"{name} {int(first)} {int(second)} {int(tail)}\n".encode())
    return digest.hexdigest()[:16]


def save_adapter(model: Any, state: Mapping[str, torch.Tensor], chat: Chat, folder: Path) -> None:
    """Write `state` as a PEFT adapter with tokenizer and chat template; what stood in `folder` before is replaced."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    adapter_config = model.peft_config["default"]
    was, adapter_config.inference_mode = adapter_config.inference_mode, True
    adapter_config.save_pretrained(partial)
    adapter_config.inference_mode = was
    save_file(dict(sorted(state.items())), partial / "adapter_model.safetensors", metadata={"format": "pt"})
    chat.tokenizer.save_pretrained(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def load_adapter(model: Any, folder: Path) -> Any:
    """`model` with the adapter of `folder` on it, as plain PEFT loads it.

    Raises:
        BadInput: no adapter there, or it does not fit the model.
    """
    if not (folder / "adapter_config.json").is_file():
        raise BadInput(f"{folder}: no adapter here (no adapter_config.json)")
    try:
        return PeftModel.from_pretrained(model, str(folder))
    except (RuntimeError, ValueError) as error:
        raise BadInput(
            f"{folder}: this adapter does not fit the base model: {' '.join(str(error).split())[:200]}"
        ) from error


def restore_adapter(model: Any, state: Mapping[str, torch.Tensor]) -> None:
    """Put `state` (from `adapter_state`) back into `model`."""
    set_peft_model_state_dict(model, dict(state))
