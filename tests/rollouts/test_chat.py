from importlib.resources import files

import pytest
from journeyman.configs import BadInput
from journeyman.rollouts.chat import Chat, end_ids
from journeyman.trainers.tokenizer import train_tokenizer

SYSTEM, USER = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}


def chat_with(template, pad=True, **kwargs):
    """A tokenizer with one of the templates that TRL ships, or none."""
    tokenizer = train_tokenizer([], [], 300)
    tokenizer.bos_token = "<|im_start|>"
    tokenizer.chat_template = (
        None if template is None else files("trl").joinpath(f"chat_templates/{template}.jinja").read_text()
    )
    if not pad:
        tokenizer.pad_token = None
    return Chat(tokenizer, kwargs)


def llama(*turns):
    return "<|im_start|>" + "".join(f"<|start_header_id|>{role}<|end_header_id|>\n\n{text}" for role, text in turns)


RENDERED = {
    "none": (None, {}, [SYSTEM, USER], "Be brief.\n2+2?\n"),
    "qwen3": (
        "qwen3", {}, [SYSTEM, USER],
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n",
    ),
    "qwen3, no thinking": (
        "qwen3", {"enable_thinking": False}, [USER],
        "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    ),
    "llama3": (
        "llama3", {}, [SYSTEM, USER],
        llama(("system", "Be brief.<|eot_id|>"), ("user", "2+2?<|eot_id|>"), ("assistant", "")),
    ),
    "gemma, which knows no system role": (
        "gemma", {}, [SYSTEM, USER],
        "<|im_start|><start_of_turn>user\nBe brief.\n\n2+2?<end_of_turn>\n<start_of_turn>model\n",
    ),
    "gemma, no system text": (
        "gemma", {}, [USER], "<|im_start|><start_of_turn>user\n2+2?<end_of_turn>\n<start_of_turn>model\n",
    ),
    "gemma3, which merges by itself": (
        "gemma3", {}, [SYSTEM, USER],
        "<|im_start|><start_of_turn>user\nBe brief.\n\n2+2?<end_of_turn>\n<start_of_turn>model\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("template", "kwargs", "messages", "expected"), RENDERED.values(), ids=RENDERED)
def test_prompts_as_each_family_writes_them(template, kwargs, messages, expected):
    before = [dict(message) for message in messages]
    chat = chat_with(template, **kwargs)

    assert chat.text(messages) == expected
    assert messages == before
    assert chat.tokenizer.decode(chat.prompt_ids(messages)) == expected


def test_a_tokenizer_without_padding_pads_with_its_end():
    chat = chat_with("qwen3", pad=False)

    assert chat.tokenizer.pad_token_id == chat.tokenizer.eos_token_id


def test_messages_that_the_template_refuses_are_bad_input():
    with pytest.raises(BadInput, match="template refuses the prompt: Conversation roles must alternate"):
        chat_with("gemma").text([USER, USER])


def test_an_answer_is_read_without_special_tokens():
    chat = chat_with("qwen3")
    ids = chat.tokenizer("4<|im_end|>")["input_ids"]

    assert chat.answer(ids) == "4" and chat.answer([]) == ""


@pytest.mark.parametrize(("declared", "extra"), [(None, []), (299, [299]), ([299, 298], [298, 299])])
def test_every_declared_end_token_counts(declared, extra):
    tokenizer = chat_with("qwen3").tokenizer

    class Generation:
        eos_token_id = declared

    assert end_ids(tokenizer, Generation()) == sorted({tokenizer.eos_token_id, *extra})
    assert end_ids(tokenizer) == [tokenizer.eos_token_id]
