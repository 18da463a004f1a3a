"""Translating lines of text with a saved encoder-decoder."""

import argparse
from collections.abc import Iterator
from typing import Any

from transformers import pipeline

from ..common.errors import loading
from .flags import Flags

TASK: Any = "lmu-translation"  # transformers' types know its own tasks alone
BEAMS = 4
ROWS = 16  # lines that are translated at a time


def translate(args: argparse.Namespace, text: str) -> None:
    """Print the translation of each line of a text, in order; of a blank line, a blank line.

    Raises:
        InputError: the model or its tokenizer cannot be loaded.
        ValueError: there is nothing to translate, or a flag is given that a translator does not read.
    """
    flags = Flags(args)
    longest = {"max_new_tokens": flags.max_new_tokens} if flags.chose("max_new_tokens") else {}
    flags.read.add("prompt")  # the text
    flags.refuse_unread("a translator")
    if not text.strip():
        raise ValueError("--prompt holds nothing to translate: give a sentence, or - to read lines of standard input")
    for line in _translated(flags.model_name_or_path, text.splitlines(), **longest):
        print(line, flush=True)


def _translated(name: str, lines: list[str], **how: Any) -> Iterator[str]:
    with loading("model", name):
        translator = pipeline(TASK, model=name, num_beams=BEAMS, do_sample=False, **how)
    found = iter(translator((line for line in lines if line.strip()), batch_size=ROWS))
    for line in lines:
        yield next(found)[0]["translation_text"] if line.strip() else ""
