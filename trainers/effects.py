"""Checks that every key of a config has an effect in the run that it is given for; `keys.py` lists the keys.

Invariants: what passes acts as TRL, transformers and PEFT document it; what would be ignored is bad input that names what to
use instead, before a folder is made. A key with its own default changes nothing anywhere, and passes.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from peft import LoraConfig
from transformers import Trainer, get_scheduler
from transformers.integrations import integration_utils
from trl import GRPOConfig, ModelConfig

from ..configs import BadInput
from ..configs.errors import nearest
from .keys import LORA_REFUSED, LORA_STARTS, NEEDS, OURS, REFUSED, RL_ONLY

PROBES = {"azure_ml": "azureml", "comet_ml": "comet", "flyte": "flytekit"}
"""Trackers whose availability transformers looks up under another name than its own; a package's name, too."""
SCHEDULES = ("reduce_lr_on_plateau", "greedy")
"""Learning rate schedules that follow TRL's own evaluation, which is off."""


def default_of(field: dataclasses.Field[Any]) -> Any:
    """The value of a dataclass's field where none is given."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def defaults_of(*classes: Any) -> dict[str, Any]:
    """Key -> default over several dataclasses; of two with the same key the first one's."""
    return {f.name: default_of(f) for cls in reversed(classes) for f in dataclasses.fields(cls)}


def without_effect(values: Mapping[str, Any]) -> dict[str, str]:
    """key -> what to use instead, of those keys of TRL's and transformers' that would change nothing here."""
    defaults = defaults_of(GRPOConfig, ModelConfig)
    ignored = {key: REFUSED[key] for key, value in values.items() if key in REFUSED and value != defaults[key]}
    return ignored | {key: why for key, (value, why) in OURS.items() if key in values and values[key] != value}


def check_keys_act(
    values: Mapping[str, Any],
    overrides: Mapping[str, Any],
    defaults: Mapping[str, Any],
    copied: Iterable[str],
    where: str,
) -> None:
    """Refuse the first key that does nothing together with the others.

    Args:
        values: all keys that were given, merged.
        overrides: those of `values` that came on top of the file: a flag may switch off what a file's other keys are about.
        defaults: key -> its value where it is not given.
        copied: keys that were given for the recipe sft; a file of another recipe's, which a proof's reference copies from, is
            not for it.

    Raises:
        BadInput: names the key and what to change.
    """
    known = {**defaults, **values}
    for keys, other, wanted in NEEDS:
        for key in keys.split():
            idle = key in values and values[key] != defaults[key] and known[other] not in wanted
            if idle and (key in overrides or other not in overrides):
                raise BadInput(
                    f"{where}: {key} does nothing with {other}: {_yaml(known[other])}; set {other} to "
                    f"{' or '.join(_yaml(each) for each in wanted)}, or remove the key"
                )
    for key in copied:
        if key in RL_ONLY and values[key] != defaults[key]:
            raise BadInput(
                f"{where}: {key}: the recipe sft copies right answers and does nothing with it; remove the key"
            )


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def check_lora(lora: Mapping[str, Any], where: str) -> None:
    """Refuse the first field of `lora:` that would change nothing, or something that the saved adapter can't repeat.

    Raises:
        BadInput: names the field and what to do.
    """
    defaults = defaults_of(LoraConfig)
    for key, value in lora.items():
        if key in LORA_REFUSED and value != defaults[key]:
            raise BadInput(f"{where}: {key}: {LORA_REFUSED[key]}")
    start = lora.get("init_lora_weights", True)
    if start not in LORA_STARTS:
        raise BadInput(
            f"{where}: init_lora_weights is {start!r}, which needs data or does not begin alike twice; it should be one of "
            f"{', '.join(_yaml(each) for each in LORA_STARTS)}"
        )
    if lora.get("layers_pattern") and lora.get("layers_to_transform") is None:
        raise BadInput(f"{where}: layers_pattern acts with layers_to_transform alone; set that, or remove the key")


def check_trackers(report_to: Any, where: str) -> None:
    """Every tracker that is asked for is one, and its package is here.

    Args:
        report_to: the key as it was given: a name, several, `all`, `none`, or None.

    Raises:
        BadInput: another name, or a missing package.
    """
    names = [report_to] if isinstance(report_to, str) else list(report_to or [])
    trackers = integration_utils.INTEGRATION_TO_CALLBACK
    if names in (["all"], ["none"]):
        return
    for name in names:
        if name not in trackers:
            hint = (
                "it stands alone"
                if name in ("all", "none")
                else f"there is no such tracker{nearest(str(name), trackers)}"
            )
            raise BadInput(f"{where}: report_to: '{name}': {hint} (trackers: {', '.join(trackers)}; or all, or none)")
        probe = PROBES.get(name, name)
        if not getattr(integration_utils, f"is_{probe}_available")():
            raise BadInput(
                f"{where}: report_to: '{name}' needs its package, which is not installed or not set up; install it (pip install "
                f"{name.replace('_', '-')}), or set report_to: none"
            )


def check_optimizer(args: Any, given: Mapping[str, Any], where: str) -> None:
    """The optimizer and the schedule can be made, and each key that is about them reaches them.

    Args:
        args: the trainer's configuration.
        given: the keys that were given.

    Raises:
        BadInput: a missing package, a setting that the optimizer or the schedule does not take or does not read.
    """
    try:
        made = Trainer.get_optimizer_cls_and_kwargs(args)
    except ImportError as error:
        raise BadInput(f"{where}: optim: {args.optim.value}: {' '.join(str(error).split())}") from error
    except Exception as error:
        raise BadInput(f"{where}: optim: {args.optim.value}, optim_args: {' '.join(str(error).split())}") from error
    for key in ("optim_args", "adam_beta1", "adam_beta2", "adam_epsilon"):
        default = GRPOConfig.__dataclass_fields__[key].default
        if given.get(key, default) != default:
            plain = copy.copy(args)
            setattr(plain, key, default)
            if Trainer.get_optimizer_cls_and_kwargs(plain) == made:
                raise BadInput(
                    f"{where}: {key}: optim: {args.optim.value} does not read it; take another, or remove the key"
                )
    schedule = args.lr_scheduler_type.value
    try:
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        get_scheduler(schedule, optimizer, args.get_warmup_steps(100), 100, args.lr_scheduler_kwargs)
    except (TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"{where}: lr_scheduler_kwargs of {schedule}: {' '.join(str(error).split())}") from error


def check_schedules(given: Mapping[str, Any], where: str) -> None:
    """Refuse schedules of learning rates and checkpoints that follow an evaluation which is not made.

    Raises:
        BadInput: names those to take.
    """
    if given.get("save_strategy") == "best":
        raise BadInput(
            f"{where}: save_strategy: best: set select: best, which goes by validation, and save_strategy: steps"
        )
    if (schedule := given.get("lr_scheduler_type")) in SCHEDULES:
        raise BadInput(
            f"{where}: lr_scheduler_type: {schedule} follows TRL's own evaluation, which is off; take linear, cosine or constant"
        )
