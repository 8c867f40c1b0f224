"""Every key that is listed as applied moves what it is about: the optimizer, the schedule, the loss, the sampler, the engine."""

import contextlib
import json
from types import SimpleNamespace

import pytest
import torch
import transformers
from journeyman.recipes.bench_trainers import make_trainer, random_policy
from journeyman.recipes.workload import Workload, batch_of
from journeyman.rollouts.record import read_records
from journeyman.rollouts.vllm_start import Plan
from journeyman.trainers import engines, models
from journeyman.trainers.config import load_config
from journeyman.trainers.grpo import Trainer
from journeyman.trainers.keys import APPLIED
from transformers import get_scheduler
from transformers.integrations import TrackioCallback

SGD = {"optim": "sgd"}
OPTIMIZER = {
    "optim": "sgd", "optim_args": "momentum=0.9", "learning_rate": 0.5, "weight_decay": 0.3, "adam_beta1": 0.5,
    "adam_beta2": 0.5, "adam_epsilon": 0.1,
}  # fmt: skip
SCHEDULE = {
    "lr_scheduler_type": "cosine", "warmup_steps": 5, "lr_scheduler_kwargs": {"num_cycles": 2}, "num_train_epochs": 7,
    "max_steps": 9,
}  # fmt: skip
LOSS = {
    "beta": ({}, 0.1), "epsilon": ({}, 0.05), "epsilon_high": ({}, 0.6), "delta": ({}, 1.3), "loss_type": ({}, "grpo"),
    "importance_sampling_level": ({"loss_type": "grpo"}, "sequence"), "off_policy_mask_threshold": ({}, 0.001),
    "use_bias_correction_kl": ({"beta": 0.1}, False), "top_entropy_quantile": ({}, 0.3), "entropy_coef": ({}, 0.1),
    "sapo_temperature_neg": ({"loss_type": "sapo"}, 2.0), "sapo_temperature_pos": ({"loss_type": "sapo"}, 3.0),
    "vespo_k_pos": ({"loss_type": "vespo"}, 1.0), "vespo_lambda_pos": ({"loss_type": "vespo"}, 1.0),
    "vespo_k_neg": ({"loss_type": "vespo"}, 1.0), "vespo_lambda_neg": ({"loss_type": "vespo"}, 1.0),
    "temperature": ({}, 0.5),
}  # fmt: skip
"""key -> (the other keys it acts with, a value): the gradient of the same batch is another."""
ENTROPY = {
    "use_adaptive_entropy": True, "entropy_coef_min": 0.4, "entropy_coef_max": 0.1, "entropy_coef_delta": 0.2,
    "entropy_target": 99.0,
}  # fmt: skip
SAMPLING = {"max_completion_length": 2, "temperature": 0.5, "top_p": 0.5, "top_k": 3, "min_p": 0.1}
ENGINE = {
    "vllm_mode": "server", "vllm_model_impl": "transformers", "vllm_gpu_memory_utilization": 0.5,
    "vllm_max_model_length": 48, "vllm_tensor_parallel_size": 2, "model_revision": "v2", "dtype": "bfloat16",
    "trust_remote_code": True, "use_vllm": True,
}  # fmt: skip
SERVER = {
    "vllm_server_base_url": "http://a:1",
    "vllm_server_host": "b",
    "vllm_server_port": 9,
    "vllm_server_timeout": 3.0,
}
LOADING = {
    "model_name_or_path": "some/other", "model_revision": "v2", "dtype": "bfloat16", "attn_implementation": "eager",
    "trust_remote_code": True,
}  # fmt: skip


def config_of(tiny, **keys):
    return load_config(tiny, {"report_to": "none", **keys})


@pytest.fixture(scope="module")
def trainer(tiny, tmp_path_factory):
    """Makes a trainer of the tiny job with keys changed."""
    from journeyman.recipes.preflight import prepare
    from peft import get_peft_model

    def make(**keys):
        folder = tmp_path_factory.mktemp("run")
        config = config_of(tiny, output_dir=str(folder), **keys)
        job, args = prepare(config), config.arguments()
        model, chat, _ = models.load_base(config, job.env)
        torch.manual_seed(3)
        return Trainer(
            get_peft_model(model, config.lora), args, env=job.env, rows=job.train, executor=job.executor, quality=job.quality,
            chat=chat, run="r", records=folder / "records",
        )  # fmt: skip

    return make


@pytest.fixture(scope="module")
def plain(trainer):
    """That trainer as the file has it."""
    return trainer()


def steps_of(args, steps=20):
    """Learning rates over a run's steps."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=args.learning_rate)
    schedule = get_scheduler(
        args.lr_scheduler_type, optimizer, args.get_warmup_steps(steps), steps, args.lr_scheduler_kwargs
    )
    rates = []
    for _ in range(steps):
        optimizer.step()
        schedule.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


@pytest.mark.parametrize("key", OPTIMIZER)
def test_it_reaches_the_optimizer(tiny, key):
    with_it = SGD if key == "optim_args" else {}

    def group(**keys):
        policy = torch.nn.Linear(2, 2)
        args = config_of(tiny, **with_it, **keys).arguments()
        kind, options = Trainer.get_optimizer_cls_and_kwargs(args)
        made = kind(policy.parameters(), weight_decay=args.weight_decay, **options)
        return type(made), {k: v for k, v in made.param_groups[0].items() if k != "params"}

    assert group(**{key: OPTIMIZER[key]}) != group()


def test_it_reaches_the_schedule(tiny):
    base = {"lr_scheduler_type": "linear"}
    assert steps_of(config_of(tiny, lr_scheduler_type="cosine").arguments()) != steps_of(
        config_of(tiny, **base).arguments()
    )
    assert steps_of(config_of(tiny, **base, warmup_steps=5).arguments()) != steps_of(
        config_of(tiny, **base).arguments()
    )
    cosine = {"lr_scheduler_type": "cosine"}
    twice = config_of(tiny, **cosine, lr_scheduler_kwargs={"num_cycles": 2}).arguments()
    assert steps_of(twice) != steps_of(config_of(tiny, **cosine).arguments())


def gradient(**options):
    torch.manual_seed(0)
    model = random_policy(True, hidden=32, layers=1)
    model.get_input_embeddings().weight.data.mul_(10)
    trainer = make_trainer("ours", model=model, **options)
    batch = batch_of(Workload([12, 9], [9, 4, 12, 1, 12, 3, 8, 5, 7, 7, 2, 12, 10, 1, 4, 6]), 2048, "cpu")
    noise = torch.Generator().manual_seed(5)
    shape = batch["completion_mask"].shape
    batch["ref_per_token_logps"] = torch.randn(shape, generator=noise) - 7.5
    batch["old_per_token_logps"] = torch.randn(shape, generator=noise) * 0.5 - 7.6
    trainer.args.steps_per_generation = trainer.current_gradient_accumulation_steps = 1
    for _ in range(2 if options.get("use_adaptive_entropy") else 1):
        trainer.model.zero_grad()
        trainer.accelerator.backward(trainer._compute_loss(trainer.model, batch))
    coefficient = torch.tensor([trainer.entropy_coef])
    return torch.cat([coefficient, *(p.grad.flatten() for p in trainer.model.parameters() if p.requires_grad)])


known = {}


def once(**options):
    key = tuple(sorted(options.items()))
    if key not in known:
        known[key] = gradient(**options)
    return known[key]


@pytest.mark.long
@pytest.mark.parametrize("key", LOSS)
def test_it_moves_the_loss(key):
    options, value = LOSS[key]

    assert not torch.equal(once(**options), gradient(**options, **{key: value}))


@pytest.mark.long
@pytest.mark.parametrize("key", ENTROPY)
def test_it_moves_the_entropy_bonus(key):
    on = {"use_adaptive_entropy": True, "entropy_coef": 0.3, "entropy_target": 50.0}
    if key == "use_adaptive_entropy":
        assert not torch.equal(once(**on), once(entropy_coef=0.3))
    else:
        start = {**on, "entropy_target": 0.0} if key == "entropy_coef_min" else on
        changed = {**start, key: 0.0 if key == "entropy_target" else ENTROPY[key]}
        assert not torch.equal(once(**start), gradient(**changed))


def test_it_reaches_the_sampler(trainer, plain):
    changed = trainer(**SAMPLING).sampling()

    for name in ("max_tokens", "temperature", "top_p", "top_k", "min_p"):
        assert getattr(changed, name) != getattr(plain.sampling(), name)


def plan(tiny, monkeypatch, **keys) -> Plan:
    monkeypatch.setattr(engines, "base_path", lambda config, env: "some/model")
    config = config_of(tiny, use_vllm=True, model_name_or_path="some/model", **keys)
    return engines.plan_of(config, config.arguments(), config.environment(), 64)


@pytest.mark.parametrize("key", [*ENGINE, *SERVER])
def test_it_reaches_the_engine(tiny, monkeypatch, key):
    if key == "use_vllm":
        config = config_of(tiny)
        assert engines.plan_of(config, config.arguments(), config.environment(), 64) is None
        return
    mode = {"vllm_mode": "server"} if key in SERVER else {}
    assert plan(tiny, monkeypatch, **mode, **{key: {**ENGINE, **SERVER}[key]}) != plan(tiny, monkeypatch, **mode)


@pytest.mark.parametrize("key", LOADING)
def test_it_reaches_the_loading_of_the_model(tiny, monkeypatch, key):
    def asked(**keys):
        seen = []

        class Kind:
            @staticmethod
            def from_pretrained(path, **options):
                seen.append((path, options))
                raise OSError("not here")

        monkeypatch.setattr(models, "AutoModelForCausalLM", Kind)
        config = config_of(tiny, **{"model_name_or_path": "some/model", **keys})
        with pytest.raises(models.BadInput):
            models.load_model(config, str(config.model.model_name_or_path))
        return seen[0]

    assert asked(**{key: LOADING[key]}) != asked()


@pytest.mark.long
def test_it_reaches_the_order_of_rows(tiny, trainer, plain):
    def order(t):
        return list(t._get_train_sampler(t.train_dataset))

    def batches(t):
        return (
            t.args.train_batch_size,
            t.args.generation_batch_size,
            t.args.steps_per_generation,
            t.args.gradient_accumulation_steps,
        )

    assert order(trainer(shuffle_dataset=False)) != order(plain) != order(trainer(seed=8))
    assert order(trainer(num_generations=8)) != order(plain) != order(trainer(num_iterations=2))
    for keys in (
        {"per_device_train_batch_size": 8}, {"steps_per_generation": 2}, {"generation_batch_size": 32},
        {"gradient_accumulation_steps": 2},
    ):  # fmt: skip
        assert batches(SimpleNamespace(args=config_of(tiny, **keys).arguments())) != batches(plain), keys


@pytest.mark.long
def test_it_reaches_advantages_and_batches(trainer, plain):
    changed = trainer(
        scale_rewards="none", multi_objective_aggregation="normalize_then_sum", mask_truncated_completions=True
    )

    assert (changed.scale_rewards, changed.multi_objective_aggregation) != (
        plain.scale_rewards,
        plain.multi_objective_aggregation,
    )
    assert changed.mask_truncated_completions and not plain.mask_truncated_completions


RUN = {
    "run_name": "named", "max_steps": 3, "save_steps": 1, "save_total_limit": 1, "logging_steps": 2, "logging_first_step": True,
    "gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}, "log_level": "error",
    "full_determinism": True, "torch_empty_cache_steps": 1, "max_grad_norm": 1e-4, "optim": "sgd",
    "chat_template_kwargs": {"enable_thinking": False}, "disable_dropout": True, "lora.lora_dropout": 0.5,
    "report_to": "none", "save_strategy": "steps", "logging_strategy": "steps",
}  # fmt: skip


@pytest.mark.long
def test_it_moves_a_whole_run(trained, train_here, tmp_path, monkeypatch):
    cleared = []
    monkeypatch.setattr("transformers.trainer.clear_device_cache", lambda *args, **kwargs: cleared.append(1))
    level = transformers.logging.get_verbosity()
    try:
        run = train_here(tmp_path / "run", **RUN)
        assert torch.are_deterministic_algorithms_enabled()
        assert transformers.logging.get_verbosity() == transformers.logging.ERROR
    finally:
        torch.use_deterministic_algorithms(False)
        transformers.logging.set_verbosity(level)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]

    assert [path.name for path in (run / "checkpoints").glob("checkpoint-*")] == ["checkpoint-3"]
    assert [row["step"] for row in rows] == [1, 2, 3] and cleared
    assert next(read_records(run, "train")).run == "named"
    assert 0 < json.loads((run / "run.json").read_text())["update_norm"] < 1e-5
    changed = {**RUN, "max_grad_norm": 1.0}
    unsaved = {key: value for key, value in changed.items() if key != "save_steps"}
    unlogged = {key: value for key, value in changed.items() if key not in ("logging_steps", "logging_first_step")}
    other = train_here(tmp_path / "other", **{**unsaved, "save_strategy": "no", "neftune_noise_alpha": 50.0})
    third = train_here(tmp_path / "third", **{**unlogged, "logging_strategy": "no", "disable_dropout": False})
    torch.use_deterministic_algorithms(False)
    norms = [json.loads((each / "run.json").read_text())["update_norm"] for each in (run, other, third)]
    assert len(set(norms)) == 3
    assert not list((other / "checkpoints").glob("checkpoint-*"))
    assert len((third / "metrics.jsonl").read_text().splitlines()) == 1, "transformers' summary at the end alone"


DDP = {
    "ddp_find_unused_parameters": False, "ddp_bucket_cap_mb": 3, "ddp_broadcast_buffers": False, "ddp_static_graph": True,
}  # fmt: skip


@pytest.mark.long
def test_it_reaches_what_wraps_the_model_where_processes_share_the_work(trainer, plain):
    ours, theirs = trainer(**DDP, ddp_timeout=60), plain

    for name in ("find_unused_parameters", "bucket_cap_mb", "broadcast_buffers", "static_graph"):
        assert getattr(ours.accelerator.ddp_handler, name) != getattr(theirs.accelerator.ddp_handler, name), name
    assert ours.args.ddp_timeout_delta != theirs.args.ddp_timeout_delta


def test_trackio_gets_what_is_meant_for_it(tiny, monkeypatch):
    callback, asked = TrackioCallback(), {}
    monkeypatch.setattr(callback._trackio, "init", lambda **given: asked.update(given))
    monkeypatch.setattr(callback._trackio, "config", {}, raising=False)
    keys = {
        "project": "p",
        "trackio_space_id": "a/b",
        "trackio_bucket_id": "a/c",
        "hub_private_repo": True,
        "run_name": "n",
    }
    args = load_config(tiny, {**keys, "trackio_static_space_id": "a/d"}).arguments()
    with contextlib.suppress(AttributeError):  # what comes after `init` wants a run of its own
        callback.setup(args, SimpleNamespace(is_world_process_zero=True), None)

    assert asked == {
        "project": "p", "name": "n", "space_id": "a/b", "resume": "allow", "private": True, "bucket_id": "a/c",
    }  # fmt: skip
    assert args.trackio_static_space_id == "a/d"


ELSEWHERE = {
    "the loss of a NaN step, of a run on another device, or of replicas": """
        logging_nan_inf_filter log_level_replica bf16 fp16 tf32 use_cpu""",
    "models of experts, which nothing here is; test_keys.py has the refusal": "router_aux_loss_coef",
    "a GPU, where bitsandbytes computes": """
        load_in_8bit load_in_4bit bnb_4bit_quant_type use_bnb_nested_quant bnb_4bit_quant_storage""",
    "test_correction.py": """
        vllm_importance_sampling_correction vllm_importance_sampling_mode vllm_importance_sampling_clip_max
        vllm_importance_sampling_clip_min""",
    "above, several at once": """
        output_dir shuffle_dataset seed num_generations per_device_train_batch_size num_iterations steps_per_generation
        generation_batch_size gradient_accumulation_steps scale_rewards multi_objective_aggregation
        mask_truncated_completions project trackio_space_id trackio_bucket_id trackio_static_space_id hub_private_repo
        ddp_timeout neftune_noise_alpha""",
}  # fmt: skip
"""Applied keys that have no line in the tables above, and where they show."""


def test_every_applied_key_is_tried():
    tables = (OPTIMIZER, SCHEDULE, LOSS, ENTROPY, SAMPLING, ENGINE, SERVER, LOADING, RUN, DDP)
    tried = {key for table in tables for key in table} | {key for keys in ELSEWHERE.values() for key in keys.split()}

    assert {key for key in tried if "." not in key} == APPLIED
