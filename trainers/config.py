"""From a YAML file and overrides to a checked run configuration: ours, TRL's and PEFT's, each under its own names.

Invariants: whatever this returns has been type-checked; an unknown key is an error that names the nearest valid one, and so is
a key that the run would ignore (`keys.py` lists them all).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from peft import LoraConfig
from trl import GRPOConfig, ModelConfig

from ..configs import BadInput, find_job, read_yaml
from ..configs.errors import nearest
from ..configs.files import in_folder, placed
from ..configs.read import merged
from ..configs.schema import RETIRED, JobConfig, check_keys, coerce, field_types
from ..envs.build import make_environment
from ..envs.core import Environment, Limits
from ..rewards import Reward
from ..rewards.entries import read_rewards
from .effects import (
    check_keys_act,
    check_lora,
    check_optimizer,
    check_schedules,
    check_trackers,
    defaults_of,
    without_effect,
)
from .keys import NEVER_TAKEN, OURS, REFUSED
from .ppo_config import PPOConfig, check_ppo
from .ranges import check_ranges

EVALUATION_KEYS = {"temperature": 0.0, "k": 1, "top_p": 1.0, "top_k": 0}
CHOICES = {
    "loss_type": ("dapo", "grpo", "dr_grpo", "bnpo", "cispo", "sapo", "luspo", "vespo"),
    "scale_rewards": ("group", "batch", "none"),
    "multi_objective_aggregation": ("sum_then_normalize", "normalize_then_sum"),
    "importance_sampling_level": ("token", "sequence"),
}
"""Keys that TRL declares as any text and checks in the first step or not at all."""
DTYPES = ("auto", "bfloat16", "float16", "float32")
CONFIGS: dict[str, type[GRPOConfig]] = {"ppo": PPOConfig}
"""Recipes whose trainer has a configuration of its own; the others take TRL's."""
DEFAULT_LORA = {"r": 32, "lora_alpha": 64, "lora_dropout": 0.0, "target_modules": "all-linear"}


@dataclass
class RunConfig:
    """Everything a run needs to know, checked. `values` is the flat mapping it came from, defaults of ours included."""

    path: Path
    job: JobConfig
    trainer: dict[str, Any]
    """Keys of the trainer's configuration that were given; `arguments()` makes the object."""
    model: ModelConfig
    lora: LoraConfig
    values: dict[str, Any]
    recipe: str = "grpo"
    overrides: dict[str, Any] = field(default_factory=dict)
    """What was laid on the file; `values` holds it already."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Name of a file as the config writes it -> where it is, in place of looking for it."""

    @property
    def folder(self) -> Path:
        """Where relative paths in the file are looked for."""
        return Path(self.job.folder or self.path.parent)

    @property
    def seed(self) -> int:
        """The run's seed: task order, sampling streams, initial adapter."""
        return int(self.trainer.get("seed", 42))

    @property
    def name(self) -> str:
        """The run's name in its records: the same for the same job, recipe and seed, wherever the folder is."""
        given = self.trainer.get("run_name")
        control = "-control" if self.job.shuffle_rewards else ""
        model = str(self.model.model_name_or_path).rstrip("/").rpartition("/")[2].lower()
        return str(given or f"{self.job.job}-{model}-{self.recipe}-seed{self.seed}{control}")

    @property
    def output(self) -> Path:
        """The run folder."""
        return Path(self.trainer.get("output_dir") or Path("runs") / self.name)

    @property
    def max_tokens(self) -> int:
        """Most tokens of a completion, in training and evaluation alike."""
        return int(self.trainer.get("max_completion_length") or GRPOConfig.max_completion_length or 512)

    @property
    def evaluation(self) -> dict[str, Any]:
        """How evaluations sample, defaults filled in."""
        return {**EVALUATION_KEYS, **self.job.evaluation}

    @property
    def kind(self) -> type[GRPOConfig]:
        """The class of the trainer's configuration; SFT of a PPO file has PPO's, for TRL's refuses groups of one."""
        alone = self.recipe == "sft" and self.trainer.get("num_generations") == 1
        return PPOConfig if alone else CONFIGS.get(self.recipe, GRPOConfig)

    @property
    def checkpoints_activations(self) -> bool:
        """`gradient_checkpointing`: as given, else on for a named model on a GPU and off where the model is sure to fit."""
        given = self.trainer.get("gradient_checkpointing")
        cpu = self.trainer.get("use_cpu") or not torch.accelerator.is_available()
        return not cpu and self.model.model_name_or_path != "nano" if given is None else bool(given)

    def arguments(self) -> GRPOConfig:
        """The trainer's configuration object, TRL's or one that extends it; what its own checks refuse is bad input here."""
        # Ours: validation, metrics, the final save and the run folder. TRL's own evaluation and card stay out.
        ours = {key: value for key, (value, _) in OURS.items() if key in field_types(GRPOConfig)}
        defaults: dict[str, Any] = {
            "report_to": "trackio", "project": "journeyman", "logging_steps": 1, "save_strategy": "steps", "save_steps": 100,
            "save_total_limit": 2, "seed": self.seed, "run_name": self.name,
            "gradient_checkpointing": self.checkpoints_activations,
            "bf16": torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
            "dataloader_pin_memory": torch.cuda.is_available(), "use_cpu": not torch.accelerator.is_available(),
        }  # fmt: skip
        where = str(self.path)
        given = {key: value for key, value in self.trainer.items() if key not in REFUSED}
        if "report_to" in given:
            given["report_to"] = given["report_to"] or "none"
        check_trackers(given.get("report_to", "trackio"), where)
        check_schedules(given, where)
        try:
            args = self.kind(**{**defaults, **given, **ours, "output_dir": str(self.output)})
        except (ValueError, TypeError, ImportError) as error:
            raise BadInput(f"{self.path}: {' '.join(str(error).split())}") from error
        for key, choices in CHOICES.items():
            coerce(getattr(args, key), Literal[choices], key, where)
        check_optimizer(args, given, where)
        if self.recipe == "ppo" and isinstance(args, PPOConfig):
            check_ppo(where, self.trainer, args, self.job, self.lora)
        return args

    def environment(self) -> Environment:
        """A new instance of the job's environment.

        Raises:
            BadInput: see `make_environment`.
        """
        name, kwargs = placed([self.job.environment, self.job.environment_kwargs], self.places)
        return make_environment(name, kwargs, self.folder, str(self.path))

    def limits(self, env: Environment) -> Limits:
        """What a rollout may use: the environment's own limits, with the config's laid on them."""
        hints, where = field_types(Limits), f"{self.path}: limits"
        check_keys(self.job.limits, hints, where)
        return replace(env.limits, **{k: coerce(v, hints[k], k, where) for k, v in self.job.limits.items()})

    def rewards(self) -> list[Reward]:
        """The reward functions in the order of the file, weights laid on.

        Raises:
            BadInput: see `read_rewards`.
        """
        return read_rewards(placed(self.job.rewards, self.places), self.folder, str(self.path))

    def quality(self) -> str:
        """Name of the reward that measures the job."""
        names = [reward.name for reward in self.rewards()]
        if self.job.quality is None:
            return names[0]
        if self.job.quality not in names:
            raise BadInput(
                f"{self.path}: quality: no reward is called '{self.job.quality}'{nearest(self.job.quality, names)}"
            )
        return self.job.quality

    def dump(self) -> str:
        """The resolved configuration as YAML: `journeyman train` takes it as it is."""
        return yaml.safe_dump(self.values, sort_keys=False, allow_unicode=True)


def load_config(job: str | Path, overrides: Mapping[str, Any] | None = None, recipe: str | None = None) -> RunConfig:
    """Read, merge and check.

    Args:
        job: a shipped job's name, or the path of a YAML file.
        overrides: flat keys to values, laid on the file; `lora.r` reaches into a mapping.
        recipe: how it is learned; what the file says where not given, else GRPO.

    Raises:
        BadInput: see the module's docstring.
    """
    path = find_job(job, recipe)
    over = nested(overrides or {})
    values = merged(read_yaml(path), over)
    finished = (path.parent / "run.json").is_file()
    if finished:  # the config of a run that was made: what it ignored then is left out, as it was
        for key in {*RETIRED & values.keys(), *without_effect(values)} - NEVER_TAKEN:
            del values[key]
    meant = values.get("recipe")  # the recipe that the file is for
    recipe = str(recipe or meant or "grpo")
    ours, model = field_types(JobConfig), field_types(ModelConfig)
    own, every = field_types(CONFIGS.get(recipe, GRPOConfig)), field_types(PPOConfig)
    for key in RETIRED & values.keys():
        raise BadInput(f"{path}: {key} is read by nothing; remove it")
    check_keys(values, [*ours, *every, *model], str(path))
    for key, instead in without_effect(values).items():
        raise BadInput(f"{path}: {key}: {instead}")
    foreign = [key for key in values if key in every and key not in own]
    if foreign and recipe == "grpo":
        raise BadInput(
            f"{path}: {foreign[0]} is a key of the recipe ppo, and this is grpo: use --recipe ppo, or remove it"
        )
    hints = {**every, **model, **ours}
    values = {key: coerce(value, hints[key], key, str(path)) for key, value in values.items()}
    check_keys(values.get("evaluation", {}), EVALUATION_KEYS, f"{path}: evaluation")
    if "evaluation" in values:
        values["evaluation"] = {
            key: coerce(value, type(EVALUATION_KEYS[key]), f"evaluation.{key}", str(path))
            for key, value in values["evaluation"].items()
        }
    check_ranges(values, str(path))
    job_config = JobConfig(**{key: value for key, value in values.items() if key in ours})
    if not job_config.environment:
        raise BadInput(f"{path}: the key 'environment' is missing; it names the job, as module:Class or path.py:Class")
    if not job_config.rewards:
        raise BadInput(f"{path}: the key 'rewards' is missing; it lists reward functions, as module:function")
    folder = path.resolve().parent
    job_config.job = job_config.job or (folder.name if (folder / "job.yaml").exists() else path.stem)
    # A file that says where its own files lie, as that of a run does, means these and not those of the current folder.
    places = in_folder(values, Path(job_config.folder)) if job_config.folder else {}
    job_config.folder = str(Path(job_config.folder or folder).expanduser().resolve())
    job_config.recipe = recipe
    values |= {"job": job_config.job, "folder": job_config.folder, "recipe": recipe}
    lora = {**DEFAULT_LORA, **job_config.lora}
    check_keys(lora, field_types(LoraConfig), f"{path}: lora")
    check_lora(lora, f"{path}: lora")
    try:
        lora_config = LoraConfig(task_type="CAUSAL_LM", **lora)
    except (TypeError, ValueError) as error:
        raise BadInput(f"{path}: lora: {error}") from error
    values["lora"] = lora
    model_values = {key: value for key, value in values.items() if key in model}
    if not model_values.get("model_name_or_path"):
        raise BadInput(f"{path}: the key 'model_name_or_path' is missing; 'nano' is the embedded model")
    trainer = {key: value for key, value in values.items() if key in own}
    config = RunConfig(
        path,
        job_config,
        trainer,
        _model_config(model_values, str(path)),
        lora_config,
        values,
        recipe,
        dict(overrides or {}),
        places,
    )
    if not finished:
        defaults = defaults_of(JobConfig, CONFIGS.get(recipe, GRPOConfig), PPOConfig, ModelConfig)
        defaults["gradient_checkpointing"] = config.checkpoints_activations
        copied = () if recipe != "sft" else values if meant == "sft" else over
        check_keys_act(values, over, defaults, copied, str(path))
    return config


def _model_config(values: Mapping[str, Any], where: str) -> ModelConfig:
    """TRL's model configuration; what its own checks refuse is bad input here, and so is a revision of what has none."""
    name, revision = str(values["model_name_or_path"]), values.get("model_revision", "main")
    if revision != "main" and (name == "nano" or Path(name).is_dir()):
        raise BadInput(
            f"{where}: model_revision: {name} is no repository of the Hub and has no revisions; remove the key"
        )
    if values.get("dtype") is not None:
        coerce(values["dtype"], Literal[DTYPES], "dtype", where)
    try:
        return ModelConfig(**values)
    except (ValueError, TypeError) as error:
        raise BadInput(f"{where}: {' '.join(str(error).split())}") from error


def nested(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """`{"lora.r": 8}` as `{"lora": {"r": 8}}`."""
    result: dict[str, Any] = {}
    for key, value in overrides.items():
        head, dot, rest = key.partition(".")
        result = merged(result, {head: nested({rest: value}) if dot else value})
    return result
