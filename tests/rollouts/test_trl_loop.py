"""Stock TRL's tool loop as the oracle: the same scripted policy at the same tools gives the same ids, masks and messages."""

import asyncio
import inspect

import pytest
from datasets import Dataset
from journeyman.envs.core import Generated, Limits, tools_of
from journeyman.envs.lookup import Lookup
from journeyman.recipes.bench_trainers import stock_environment
from journeyman.rollouts.collect import Batch, collect
from journeyman.rollouts.engine import Sampling
from journeyman.rollouts.pool import Pool
from journeyman.rollouts.scripted import ScriptedEngine
from transformers import Qwen3Config, Qwen3ForCausalLM
from transformers.utils import get_json_schema
from trl import GRPOConfig, GRPOTrainer


def double(number: int) -> int:
    """Double a number.

    Args:
        number: which.
    """
    return 2 * number


async def find(text: str) -> str:
    """Find a text.

    Args:
        text: what.
    """
    await asyncio.sleep(0.001)
    if text == "nothing":
        raise LookupError("not found")
    return f"<{text}>\n" * 3


class Both(Generated):
    """The same two as methods."""

    limits = Limits(turns=50)

    def generate(self, rng):
        return {"prompt": f"Item {rng.randrange(10**6)}", "answer": ""}

    def double(self, number: int) -> int:
        return double(number)

    async def find(self, text: str) -> str:
        return await find(text)


Both.double.__doc__, Both.find.__doc__ = double.__doc__, find.__doc__


def dialogues(calling):
    """What the policy writes, by row and turn."""
    one, other = calling("double", number=4), calling("find", text="a page")
    return [
        [one, other, "It is 8."],
        ["no calls at all"],
        [one + "\n" + calling("double", number=-1), other + "\n" + calling("find", text="é🎉"), "both"],
        [calling("find", text="nothing"), calling("dig", deep=True), calling("double", number=None), "sorry"],
        ["I think. " + one, "<tool_call>\n{broken\n</tool_call>"],
        [calling("double", number="4"), ""],
        [calling("find", text="a <b> & c"), "<think>\nhm\n</think>\n\nyes"],
        [other] * 12 + ["the end"],
    ]


def stock(chat, rows, script, max_tokens):
    """Prompts, completions, masks and messages of TRL's own `_generate`, with only its generation scripted."""
    config = Qwen3Config(
        vocab_size=len(chat.tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=1,
        num_key_value_heads=1, head_dim=32, intermediate_size=32,
    )  # fmt: skip
    args = GRPOConfig(
        "unused", use_cpu=True, bf16=False, report_to="none", per_device_train_batch_size=2, num_generations=2,
        max_completion_length=max_tokens,
    )  # fmt: skip
    trainer = GRPOTrainer(
        Qwen3ForCausalLM(config), lambda completions, **_: [0.0] * len(completions), args,
        Dataset.from_dict({"prompt": [rows[0]["prompt"]] * 2}), processing_class=chat.tokenizer, tools=[double, find],
    )  # fmt: skip
    trainer._sync_tool_dicts, trainer._async_tool_dicts = [{"double": double}] * len(rows), [{"find": find}] * len(rows)
    starts, turns = {}, [0] * len(rows)

    def scripted(prompt_ids, *_, **__):
        if not starts:
            starts.update({tuple(ids): i for i, ids in enumerate(prompt_ids)})
        made = []
        for ids in prompt_ids:
            (row,) = (i for start, i in starts.items() if tuple(ids[: len(start)]) == start)
            written = [*chat.ids(script[row][turns[row]]), chat.tokenizer.eos_token_id][:max_tokens]
            turns[row] += 1
            made.append(written)
        return made, [[0.0] * len(ids) for ids in made]

    trainer._generate_single_turn = scripted
    return trainer._generate([row["prompt"] for row in rows])[:4]


def with_thought(message):
    """TRL's message with its thought where ours have it: in the content, as the policy wrote it."""
    thought = message.pop("reasoning_content", None)
    if thought is None:
        return message
    end = f"\n</think>\n\n{message['content']}" if message["content"] else ""  # a thought that was cut off has none
    return {**message, "content": f"<think>\n{thought}{end}"}


@pytest.mark.parametrize("max_tokens", [4096, 300, 120, 40])
def test_the_same_policy_leaves_the_same_tokens_as_in_trls_loop(chat, calling, max_tokens):
    env, script = Both(), dialogues(calling)
    rows = env.tasks("train", 0, len(script))
    prompt_ids, completion_ids, tool_mask, completions = stock(chat, rows, script, max_tokens)
    engine = ScriptedEngine(lambda request: script[request.stream[2]][request.turn], chat)
    pool = Pool(env)
    ours = collect(engine, chat, pool, rows, Sampling(max_tokens), Batch("r", 0, "train", 0))
    pool.close()

    for i, rollout in enumerate(ours):
        assert rollout.prompt_ids == prompt_ids[i]
        assert rollout.completion_ids == completion_ids[i], f"row {i}"
        assert rollout.env_mask == tool_mask[i]
        assert rollout.messages[1:] == [with_thought(message) for message in completions[i]]
    assert any(0 in rollout.env_mask for rollout in ours) or max_tokens == 40


def test_an_environment_of_ours_is_one_of_trls_with_the_same_tools_and_rows():
    env = Lookup()
    rows = env.tasks("train", 0, 4)
    made = stock_environment(env, rows)
    one, other = made(), made()
    for theirs, row in zip((one, other), rows, strict=False):
        assert theirs.reset(item=row["item"], prompt=row["prompt"], answer=row["answer"]) is None
    for theirs, row in zip((one, other), rows, strict=False):
        assert theirs.read(theirs.search(row["name"]), row["field"]) == row["answer"]
    tools = [
        name for name, _ in inspect.getmembers(type(one), inspect.isfunction) if name[0] != "_" and name != "reset"
    ]

    assert {name: get_json_schema(getattr(one, name)) for name in tools} == {
        tool.__name__: get_json_schema(tool) for tool in tools_of(env)
    }


def test_trls_private_parts_are_as_they_are_used_here():
    assert list(inspect.signature(GRPOTrainer._tool_call_loop).parameters)[:4] == [
        "self", "prompts", "prompt_ids", "completion_ids",
    ]  # fmt: skip
