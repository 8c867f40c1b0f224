"""A thought is read alike with tools and without, opened by the template or by the policy; a prefill is continued."""

import math
import time
from importlib.resources import files

import pytest
from journeyman.configs import BadInput
from journeyman.envs.core import Generated
from journeyman.recipes.prompt_checks import check_prompts, check_tokenizer
from journeyman.rewards.core import Scored
from journeyman.rewards.format import think
from journeyman.rewards.match import exact, number
from journeyman.rollouts.chat import Chat
from journeyman.trainers.tokenizer import train_tokenizer

USER = {"role": "user", "content": "6 * 7?"}


def count(thing: str) -> int:
    """Count a thing.

    Args:
        thing: which.
    """


def chat_with(template):
    tokenizer = train_tokenizer([], [], 300)
    tokenizer.chat_template = files("trl").joinpath(f"chat_templates/{template}.jinja").read_text()
    chat = Chat(tokenizer)
    chat.learn_to_parse()
    return chat


@pytest.mark.parametrize("tools", [(), (count,)], ids=["no tools", "tools"])
@pytest.mark.parametrize("template", ["qwen3", "qwen3_5_think"])
@pytest.mark.parametrize(("rest", "earned"), [("hm 41\n</think>\n\n42", [1, 1, 1]), ("hm 42", [0, 0, 0])])
def test_a_thought_is_paid_for_alike(template, tools, rest, earned):
    chat = chat_with(template)
    written = rest if template == "qwen3_5_think" else f"<think>\n{rest}"
    message = chat.message(chat.ids(written), chat.prompt_ids([USER], tools), tools, [USER])

    assert message == {"role": "assistant", "content": f"<think>\n{rest}"}
    assert [reward.score([Scored({"answer": "42"}, [message])])[0] for reward in (think, number, exact)] == earned


@pytest.mark.parametrize("tools", [(), (count,)], ids=["no tools", "tools"])
@pytest.mark.parametrize("template", ["qwen2_5", "qwen3", "llama3_1", "gemma4", "glm4moe"])
def test_a_prompt_that_ends_in_an_assistants_message_is_continued(template, tools):
    chat = chat_with(template)
    messages = [USER, {"role": "assistant", "content": "The answer is "}]
    ids = chat.prompt_ids(messages, tools)

    assert chat.tokenizer.decode(ids).endswith("The answer is "), "its white space too"
    assert chat.message(chat.ids("42."), ids, tools, messages)["content"] == "42.", "only what was generated"


UNITS = ["<tool_call>", "<tool_call></tool_call>", "{", " ", "<think>", '<tool_call>\n{"name": ', "<function=x>", "a"]


@pytest.mark.parametrize("template", ["nemotron_3_nano", "qwen3", "qwen3_5_think", "glm4moe", "llama3_1", "gptoss"])
def test_a_completion_is_read_in_time_that_grows_as_its_length_does(template):
    chat = chat_with(template)
    before = chat.prompt_ids([USER], (count,))
    for unit in UNITS:
        ids = chat.ids(unit * (24_000 // len(unit)))

        def seconds(part, ids=ids):
            best = math.inf
            for _ in range(3):
                began = time.thread_time()
                chat.message(ids[: len(ids) // part], before, (count,), [USER])
                best = min(best, time.thread_time() - began)
            return best

        assert seconds(1) < max(8 * seconds(4), 0.08), unit


def test_a_thought_that_the_template_opens_is_found_by_templates_that_look_for_its_end():
    chat = chat_with("nemotron_3_nano")
    before = chat.prompt_ids([USER], (count,))
    call = "<tool_call>\n<function=count>\n<parameter=thing>\nsun\n</parameter>\n</function>\n</tool_call>"
    read = chat.message(chat.ids(f"hm\n</think>\n{call}"), before, (count,), [USER])

    assert read["content"].startswith("<think>\nhm")
    assert read["tool_calls"][0]["function"]["arguments"] == {"thing": "sun"}
    assert chat.message([], before, (count,), [USER])["content"].strip() in ("", "<think>")


class Rows(Generated):
    pass


def row(text, index=0):
    return {"prompt": [{"role": "user", "content": text}], "item": "i", "index": index}


ROWS = {
    "too long": ([row("x"), row("y" * 200, 1)], r"heldout row 1 \(item i\): the prompt has \d+ tokens.*context of 64"),
    "empty": ([row(" \n")], "heldout row 0 .*the prompt is empty"),
    "of another shape": ([{**row("x"), "prompt": [{"from": "human", "value": "x"}]}], "heldout row 0 .*the key 'from'"),
}


@pytest.mark.parametrize(("rows", "match"), ROWS.values(), ids=ROWS)
def test_every_split_is_checked_before_the_run(rows, match):
    with pytest.raises(BadInput, match=match):
        check_prompts(chat_with("qwen3"), Rows(), {"train": [row("x")], "heldout": rows}, 3, 64, 1000)


def test_a_tokenizer_that_does_not_fit_is_refused():
    chat = chat_with("qwen3")
    with pytest.raises(BadInput, match="embeddings for 10 tokens"):
        check_prompts(chat, Rows(), {"train": [row("x")]}, 3, 64, 10)
    with pytest.raises(BadInput, match="the padding token of m's tokenizer has the id 26"):
        chat.tokenizer.pad_token = "</think>"
        check_tokenizer(chat, 200, "m")
    with pytest.raises(BadInput, match="the tokenizer of m has no end token"):
        chat.tokenizer.eos_token = None
        check_tokenizer(chat, None, "m")
