"""What a config gives `Table`, before a file is opened: texts that are texts, mappings that are mappings.

Invariants: YAML reads `yes` as true, `007` as 7, `2024-01-01` as a date and `{question}` as a mapping; wherever a text is
wanted, such a value is refused with the mend, which is a pair of quotes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..configs.errors import BadInput
from .cells import text_of
from .core import SPLITS, check_split


def check_text(key: str, value: Any) -> None:
    """Raise BadInput unless `value` is a text."""
    if not isinstance(value, str):
        quoted = "{question}" if isinstance(value, Mapping) and key == "prompt" else "yes"
        raise BadInput(
            f"{key} is {value!r}, which is no text: YAML reads words like yes, numbers, dates and {{...}} as something else; "
            f'put it in quotes, as in {key.split(":")[0]}: "{quoted}"'
        )


def check_texts(key: str, given: Any) -> None:
    """Raise BadInput unless `given` is a mapping from texts to texts."""
    if not isinstance(given, Mapping):
        raise BadInput(f"{key} is {given!r}; it should be a mapping, as in {key}: {{a: b}}")
    for name, value in given.items():
        check_text(f"{key}: a name", name)
        check_text(f"{key}: {name}", value)


def read_labels(labels: Any) -> tuple[list[str], bool]:
    """The labels as texts, and whether YAML has read one of them as something else.

    Raises:
        BadInput: no list, no label, or one that can't be a text.
    """
    if isinstance(labels, str | bytes | Mapping) or not isinstance(labels, Sequence) or not labels:
        raise BadInput(f"labels is {labels!r}; it should be a list of the answers there are, as in labels: [red, blue]")
    try:
        return [text_of(label) for label in labels], any(not isinstance(label, str) for label in labels)
    except ValueError as error:
        raise BadInput(f"labels: {list(labels)!r} holds one that is no text: {error}; put it in quotes") from None


def check_given(given: Mapping[str, str], shares: Mapping[str, float]) -> None:
    """Raise BadInput unless the splits that the user made go with the shares of those to be carved from `train`."""
    if not given:
        raise BadInput(f"'paths' and 'split_names' should name at least one split (splits: {', '.join(SPLITS)})")
    for split in given:
        check_split(split)
    for split, share in shares.items():
        if share and split != "train" and (split in given or "train" not in given):
            raise BadInput(
                f"the share of '{split}' is {share:g}, but shares divide the rows of a given 'train' among itself and "
                f"the splits that are not given; remove '{split}' from the shares"
            )
