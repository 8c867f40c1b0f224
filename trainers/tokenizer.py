"""The embedded model's tokenizer: byte-level BPE, trained in a second on the job's own demonstrations.

Always true here: any text can be encoded and comes back unchanged; digits stand alone; the job's labels are one token
each; merges may cross words where asked, so that a prompt's constant parts shrink to a few tokens. The chat template is
Qwen3's, tool calls included, as TRL ships it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
MARKS = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]


def qwen3_template() -> str:
    """Qwen3's chat template from the installed TRL."""
    return files("trl").joinpath("chat_templates/qwen3.jinja").read_text(encoding="utf-8")


def train_tokenizer(texts: Iterable[str], words: Sequence[str], vocab_size: int, across_words: bool = True) -> Any:
    """A tokenizer of at most `vocab_size` entries (256 bytes and the chat's marks included) plus one for each of `words`.

    Args:
        texts: what it will mostly read, chat marks included; the same texts give the same tokenizer.
        words: closed vocabulary, such as the labels of a classification; each becomes one token.
        across_words: whether merges may cross words; varied text is learned better where they may not.
    """
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not across_words),
        ]
    )
    inner.decoder = decoders.ByteLevel()
    marks = [START, END, *MARKS]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(MARKS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[PAD, START, END],
        show_progress=False,
    )
    inner.train_from_iterator((piece for text in texts for piece in _split(text, marks)), trainer)
    inner.add_tokens([AddedToken(mark, normalized=False) for mark in MARKS])
    inner.add_tokens([AddedToken(word, normalized=False, single_word=True) for word in words])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token=PAD, eos_token=END)
    tokenizer.chat_template = qwen3_template()
    return tokenizer


def _split(text: str, marks: Sequence[str]) -> list[str]:
    """The parts of `text` between chat marks: no merge may cross a mark, which is always a token of its own."""
    for mark in marks:
        text = text.replace(mark, "\0")
    return [part for part in text.split("\0") if part]
