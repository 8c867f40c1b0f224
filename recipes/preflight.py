"""The checks before a run: everything that can be known to be wrong is, before a folder is made or a token sampled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trl import GRPOConfig

from ..configs import BadInput
from ..envs.core import Environment, Row, check_disjoint, tools_of
from ..rewards import Failure, Reward, Scored
from ..rewards.executor import Executor
from ..rollouts.chat import Chat
from ..trainers.config import RunConfig
from ..trainers.engines import check_engine
from ..trainers.models import nano_options
from ..trainers.ppo_config import NOT_SHARDED
from ..trainers.rolling import context_length
from .prompt_checks import check_prompts, check_template, check_tokenizer, check_tools


@dataclass
class Job:
    """What a config names, made and checked: environment, rows, rewards."""

    env: Environment
    executor: Executor
    """Scores by the job's rewards; its workers are there before a model is loaded."""
    quality: str
    train: list[Row]
    validation: list[Row]
    heldout: list[Row]

    @property
    def splits(self) -> dict[str, list[Row]]:
        """Split -> the rows that are used of it."""
        return {"train": self.train, "validation": self.validation, "heldout": self.heldout}


def prepare(config: RunConfig, processes: int = 1, sharded: bool = False) -> Job:
    """Everything about a run that can be checked without its model.

    Args:
        sharded: whether the processes share out a model's weights (FSDP, DeepSpeed).

    Raises:
        BadInput: rewards or environment that don't load, an empty or overlapping split, a column that a reward asks for
            and rows lack, a reward that fails on the right answers, groups that straddle ranks.
    """
    check_batch(config, processes)
    if sharded and config.recipe == "ppo":
        raise BadInput(f"{config.path}: accelerate: {NOT_SHARDED}")
    check_engine(config)
    nano_options(config, config.trainer.get("critic_nano", {}))
    env, rewards, quality = config.environment(), config.rewards(), config.quality()
    train = env.tasks("train", config.seed, config.job.train_rows)
    validation = env.tasks("validation", 0)[: config.job.validation_rows]
    if not train:
        raise BadInput(f"{config.path}: {config.job.environment} has no training tasks; give 'train' a share above 0")
    if not validation and config.job.validate_every:
        raise BadInput(f"{config.path}: no validation tasks; give that split a share above 0, or set validate_every: 0")
    heldout = env.tasks("heldout", 0, config.job.heldout_rows)
    job = Job(env, Executor(rewards, config.job.max_error_rate), quality, train, validation, heldout)
    check_disjoint(job.splits)
    for reward in rewards:
        try:
            reward.require(list(train[0]), config.job.environment)
        except BadInput as error:
            raise BadInput(f"{config.path}: {error}") from None
        if "environment" in reward.columns() and not hasattr(env, "get_reward"):
            raise BadInput(
                f"{config.path}: reward '{reward.name}' reads the environment, and {config.job.environment} has no get_reward()"
            )
        check_gold(reward, env, train[:4], config)
    if any(key in train[0] for key in ("image", "images")):
        raise BadInput(f"{config.path}: the rows hold images; this version rolls out text jobs only")
    return job


def check_gold(reward: Reward, env: Environment, rows: list[Row], config: RunConfig) -> None:
    """Try a reward on the right answers: wrong types show before anything is written, and so does a reward that fails."""
    if "environment" in reward.columns():
        return  # it judges the state that a rollout leaves, and here was none
    known = [row for row in rows if _has_oracle(env, row)]
    items = [Scored(row, [{"role": "assistant", "content": env.oracle(row)}]) for row in known]
    if not items:
        return
    with Executor([reward], logs=False) as executor:
        try:
            values = executor.score(items).of_reward(reward.name)
        except BadInput:
            for row, item in zip(known, items, strict=True):  # which of them?
                try:
                    executor.score([item])
                except BadInput as error:
                    at = f"train row {row.get('index', 0)} (item {row['item']})"
                    raise BadInput(f"{config.path}: reward '{reward.name}', {at}: {error}") from None
            raise
    for row, value in zip(known, values, strict=True):
        if isinstance(value, Failure):
            raise BadInput(
                f"{config.path}: reward '{reward.name}' fails on a right answer, that of train row {row.get('index', 0)} (item "
                f"{row['item']}): {value.reason}; change the row, the reward or its settings"
            )


def _has_oracle(env: Environment, row: Row) -> bool:
    try:
        env.oracle(row)
    except (KeyError, NotImplementedError):
        return False
    return True


def check_batch(config: RunConfig, processes: int) -> None:
    """Groups must be whole on every rank."""
    # Before TRL's own check, which is of all ranks together and names a key that nobody wrote.
    given = config.trainer
    each = int(given.get("per_device_train_batch_size", GRPOConfig.per_device_train_batch_size))
    steps = int(given.get("steps_per_generation") or given.get("gradient_accumulation_steps") or 1)
    if given.get("generation_batch_size"):
        steps = int(given["generation_batch_size"]) // (each * processes)
    group = int(given.get("num_generations") or config.kind.num_generations or 8)
    if group > 1 and each * steps % group:
        raise BadInput(
            f"{config.path}: num_generations {group} does not divide each rank's batch of {each * steps} rows "
            f"(per_device_train_batch_size {each} x steps_per_generation {steps}); change one of them"
        )
    config.arguments()


def check_model(config: RunConfig, args: Any, job: Job, model: Any, chat: Chat) -> int:
    """What only the model and its tokenizer can tell: enough tasks for a step, prompts that fit, tools it can call.

    Args:
        model: the base, or its shape on the meta device.

    Returns:
        Tokens of the longest prompt of any split.

    Raises:
        BadInput: one of them does not hold.
    """
    prompts_a_step = args.generation_batch_size // args.num_generations
    if len(job.train) < prompts_a_step:
        raise BadInput(
            f"{config.path}: a step draws {prompts_a_step} prompts and there are {len(job.train)} training tasks; lower "
            "per_device_train_batch_size or steps_per_generation, or raise num_generations"
        )
    context = context_length(model.config)
    if args.use_vllm and args.vllm_max_model_length:
        context = min(context or args.vllm_max_model_length, args.vllm_max_model_length)
    embedding, name = model.get_input_embeddings(), str(config.model.model_name_or_path)
    vocabulary = getattr(embedding, "num_embeddings", None)
    room = 1 if tools_of(job.env) else args.max_completion_length
    try:
        check_tokenizer(chat, vocabulary, name)
        check_template(chat, name)
        check_tools(chat, job.env, config.limits(job.env), name)
        return check_prompts(chat, job.env, job.splits, room, context, vocabulary)
    except BadInput as error:
        raise BadInput(f"{config.path}: {error}") from None
