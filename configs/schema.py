"""The keys that are ours, and the check that every value has the type its key declares.

Always true here: no torch. TRL's own keys (`GRPOConfig`, `ModelConfig`) stand beside these in the same flat file under
their own names; `lora:` is a mapping for PEFT's `LoraConfig`. The comment under a field is its documentation.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .errors import BadInput, nearest

RETIRED = frozenset({"quality_floor"})
"""Keys that earlier versions took and read nowhere: the config of a run that was made may hold them."""


@dataclass
class JobConfig:
    """What the job is and how a run of it is measured; the flat keys beside TRL's."""

    environment: str = ""
    """`module:Class` or `path.py:Class` of the environment."""
    environment_kwargs: dict[str, Any] = field(default_factory=dict)
    """What its constructor receives."""
    rewards: list[Any] = field(default_factory=list)
    """Each `module:function`, or a mapping such as `{reward: module:function, weight: 0.5}`: `rewards/entries.py` has all."""
    quality: str | None = None
    """Name of the reward that measures the job itself, in [0, 1]; the first one where not given."""
    job: str | None = None
    """The job's name; the folder of the file where not given."""
    recipe: str | None = None
    """How it is learned where the command doesn't say: `grpo` (where not given), `ppo`, `sft`."""
    folder: str | None = None
    """Where relative paths are looked for; the folder of the file where not given."""
    raw_prompt: bool = False
    """Control tokens that a prompt's text spells are control tokens, for templates written by hand into the prompt; else text."""
    train_rows: int | None = None
    """How many training tasks to use; all where not given."""
    validation_rows: int = 256
    """How many validation tasks the curve and the checkpoint selection read."""
    heldout_rows: int | None = None
    """How many held-out tasks the proof reads; all where not given."""
    validate_every: int = 20
    """Optimizer steps between two validations; 0 for none."""
    select: Literal["best", "last"] = "best"
    """Which adapter the run ends in: the best on validation, or that of the last step."""
    evaluation: dict[str, Any] = field(default_factory=dict)
    """Sampling of every evaluation, apart from training's: `temperature` (0, greedy), `k` (1), `top_p`, `top_k`."""
    dynamic_sampling: bool = False
    """Replace groups whose rewards are all alike by groups of other tasks, so that every prompt of a step teaches."""
    dynamic_sampling_rounds: int = 3
    """How often a step may sample again for that."""
    forward_tokens: int = 16384
    """Most tokens of one forward of the update, padding counted; lower it where memory is short."""
    decode_rows: int = 1024
    """Rollouts decoded at once; lower it where the key-value cache does not fit."""
    limits: dict[str, Any] = field(default_factory=dict)
    """Laid on the environment's own limits of a rollout: `turns`, `tokens`, `seconds`, `tool_seconds`, `observation`."""
    vllm_options: dict[str, Any] = field(default_factory=dict)
    """With `use_vllm`: fields of vLLM's `EngineArgs`, passed through, such as `enforce_eager` or `max_num_batched_tokens`."""
    vllm_servers: list[str] = field(default_factory=list)
    """With `vllm_mode: server`: addresses of servers started by `journeyman serve-rollouts`; else `vllm_server_base_url`."""
    vllm_adapters: str | None = None
    """A folder that the servers see under the same path, for the adapter's files; shared memory where all are on this machine."""
    vllm_sync: Literal["auto", "adapter", "merged"] = "auto"
    """How the adapter gets into vLLM: as an adapter of its own, merged into its weights, or whichever is faster here."""
    async_rollouts: Literal[0, 1] = 0
    """1: vLLM servers generate the next batch while this one trains, one batch off-policy and corrected for it; 0: they wait."""
    max_error_rate: float = 0.1
    """The largest share of rollouts a reward may fail on before the run stops with its traceback."""
    max_seconds: float | None = None
    """Stop training after this many seconds, at the end of a step."""
    shuffle_rewards: bool = False
    """The control of a proof: rewards are permuted within each group, all else the same."""
    lora: dict[str, Any] = field(default_factory=dict)
    """Fields of PEFT's `LoraConfig`; LoRA of rank 32 on all linear layers where not given."""
    nano: dict[str, Any] = field(default_factory=dict)
    """Options of the embedded base model, where `model_name_or_path` is `nano`."""
    accelerate: str | None = None
    """A launch shape of `configs/accelerate/` by name, or the path of an Accelerate config file."""


def field_types(cls: type) -> dict[str, Any]:
    """Field name -> type, of a dataclass's fields that its constructor takes."""
    hints = typing.get_type_hints(cls)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls) if f.init}


def check_keys(values: Mapping[str, Any], valid: typing.Iterable[str], where: str) -> None:
    """Raise BadInput for the first key of `values` that is not in `valid`, naming the nearest one that is."""
    names = list(valid)
    for key in values:
        if key not in names:
            raise BadInput(f"{where}: there is no key '{key}'{nearest(str(key), names)}")


def coerce(value: Any, hint: Any, key: str, where: str) -> Any:
    """`value` as `hint` has it: YAML's `1e-3` (a text to YAML) becomes a float, 1 becomes 1.0; nothing else is guessed.

    Raises:
        BadInput: it has another type; the message names file, key, value and the type wanted.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or value is dataclasses.MISSING:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        options = [a for a in arguments if a is not type(None)]
        for option in sorted(options, key=lambda a: (bool, int, float).index(a) if a in (bool, int, float) else 3):
            try:
                return coerce(value, option, key, where)
            except BadInput:
                continue
    elif origin is Literal:
        if value in arguments:
            return value
        raise BadInput(f"{where}: {key} is {value!r}; it should be one of {', '.join(map(str, arguments))}")
    elif hint is bool:
        if isinstance(value, bool):
            return value
    elif hint is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, str):
            try:
                return float(value)
            except ValueError:
                pass
    elif hint is str:
        if isinstance(value, str):
            return value
    elif (origin or hint) in (list, dict):
        if isinstance(value, origin or hint):
            return value
    elif value is False and isinstance(hint, type) and issubclass(hint, enum.Enum):
        return "no"  # which YAML reads as false: `save_strategy: no`
    elif isinstance(value, str) or value is None:  # enumerations and the like: their own class has the last word
        return value
    raise BadInput(f"{where}: {key} is {value!r} ({type(value).__name__}); it should be {_spelled(hint)}")


def _spelled(hint: Any) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", list: "a list"}
    names |= {dict: "a mapping"}
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_spelled(a) for a in typing.get_args(hint) if a is not type(None))
    return names.get(origin or hint, str(getattr(hint, "__name__", hint)))
