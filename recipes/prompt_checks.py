"""What only the model's tokenizer can tell of a job, checked before a run: its end token, its tools, every prompt of every split.

Invariants: a prompt that training, validation or the proof will read has been rendered and tokenised here; what is refused names
the split and the row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from trl.chat_template_utils import supports_tool_calling

from ..configs import BadInput
from ..envs.core import Environment, Limits, Row, tools_of
from ..envs.messages import plain_messages
from ..rollouts.chat import Chat

SLACK = 16
"""Tokens by which the same descriptions of tools may differ in length from prompt to prompt: where they meet its text."""


def check_tokenizer(chat: Chat, vocabulary: int | None, name: str) -> None:
    """Completions can end, and the ids of end and padding are among the model's.

    Args:
        vocabulary: rows of the model's embedding; None where it can't be known.
        name: of the model, for messages.

    Raises:
        BadInput: the tokenizer has no end token, or one that the model has no embedding for.
    """
    tokenizer = chat.tokenizer
    if tokenizer.eos_token_id is None:
        raise BadInput(
            f"the tokenizer of {name} has no end token, so no completion could end; set eos_token in its "
            "tokenizer_config.json to the token that ends a turn"
        )
    for kind, token in (("end", tokenizer.eos_token_id), ("padding", tokenizer.pad_token_id)):
        if vocabulary is not None and token >= vocabulary:
            raise BadInput(
                f"the {kind} token of {name}'s tokenizer has the id {token}, and the model has embeddings for {vocabulary} "
                "tokens; use the tokenizer that belongs to the model"
            )


def check_template(chat: Chat, name: str) -> None:
    """The arguments of the chat template have an effect.

    Raises:
        BadInput: it never looks at one, or one is `true` or `false` as a text, which counts as true either way.
    """
    for key, hint in chat.unread_arguments().items():
        hint = hint or "; remove it, or correct its name"
        raise BadInput(f"chat_template_kwargs: the chat template of {name} never looks at '{key}'{hint}")
    for key, value in chat.template_kwargs.items():
        if isinstance(value, str) and value.lower() in ("true", "false"):
            raise BadInput(f"chat_template_kwargs: {key} is the text {value!r}; write it without quotes")


def check_tools(chat: Chat, env: Environment, limits: Limits, name: str) -> None:
    """The template shows the tools and what they reply, and the calls can be read.

    Raises:
        BadInput: it can't call tools, leaves out a description, or cuts a long reply.
    """
    tools = tools_of(env)
    if not tools:
        return
    names = ", ".join(tool.__name__ for tool in tools)
    if not supports_tool_calling(chat.tokenizer):
        raise BadInput(
            f"the environment has tools ({names}) and the chat template of {name} can't call tools; use a model whose "
            "template can"
        )
    chat.learn_to_parse()
    missing = chat.undescribed(tools)
    if missing:
        raise BadInput(
            f"the chat template of {name} leaves out the description of the tools ({names}): {missing[0][:60]!r} is not in the "
            "prompt; use a model whose template shows it"
        )
    reply = " ".join(str(number) for number in range(limits.observation))
    chat.tool_reply_ids([{"role": "tool", "name": tools[0].__name__, "content": reply}])


def check_prompts(
    chat: Chat, env: Environment, rows_of: Mapping[str, Sequence[Row]], room: int, context: int | None, vocabulary: int | None
) -> int:  # fmt: skip
    """Render and tokenise every prompt; returns the tokens of the longest (in a job with tools to within a few).

    Args:
        rows_of: split -> the rows that are used of it.
        room: tokens that must be left for a completion.
        context: tokens that the model can read; None where that is not known.
        vocabulary: rows of the model's embedding.

    Raises:
        BadInput: a prompt that the template refuses or shows in part, that is empty or too long, or that has a token for which
            the model has no embedding; split and row are named.
    """
    tools, longest = tools_of(env), 0
    resets = getattr(type(env), "reset", Environment.reset) is not Environment.reset
    described: dict[tuple[str, ...], int] = {}  # roles -> tokens that the tools' descriptions add
    for split, rows in rows_of.items():
        for number, row in enumerate(rows):
            at = f"{split} row {row.get('index', number)} (item {row['item']})"
            try:
                messages = plain_messages(row["prompt"])
                ids = chat.prompt_ids(messages)
                length = len(ids)
                if tools:  # to write their descriptions takes long, and they are the same in each prompt
                    roles = tuple(message["role"] for message in messages)
                    if roles not in described or length + described[roles] + SLACK + room > (context or math.inf):
                        ids = chat.prompt_ids(messages, tools)
                        described[roles] = len(ids) - length
                    length += described[roles]
            except BadInput as error:
                raise BadInput(f"{at}: {error}") from None
            # What `reset` returns is added to the prompt, and may be all of it.
            if not ids or (not resets and not any(message["content"].strip() for message in messages)):
                raise BadInput(f"{at}: the prompt is empty; give it a text or remove the row")
            if context is not None and length + room > context:
                raise BadInput(
                    f"{at}: the prompt has {length} tokens; with {room} for the completion (max_completion_length) that is "
                    f"more than the model's context of {context}: shorten one of them"
                )
            if vocabulary is not None and max(ids) >= vocabulary:
                raise BadInput(
                    f"{at}: the prompt has the token {max(ids)} and the model has embeddings for {vocabulary} tokens; use the "
                    "tokenizer that belongs to the model"
                )
            longest = max(longest, length)
    return longest
