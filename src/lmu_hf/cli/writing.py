"""Writing text with a saved language model, as it is made."""

import argparse
import sys
import time

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DynamicCache,
    PreTrainedTokenizerBase,
    TextStreamer,
)

from ..common.errors import TOKENIZER, explained, loading
from ..memories_lmu import load_memories, save_memories
from ..modeling_lmu import LMUForCausalLM
from .saved_heads import check_head, saved_head
from .translating import translate


def write(args: argparse.Namespace) -> None:
    """Read the prompt, stream, and say what was carried and how fast; a translator translates it line by line."""
    if saved_head(args.model_name_or_path).endswith("ForConditionalGeneration"):
        translate(args, _prompt(args))
        return
    model, tokenizer = load_writer(args.model_name_or_path)
    memories = DynamicCache(config=model.config)
    if args.load_memory is not None:
        with explained(f"--load_memory {args.load_memory} cannot be read"):
            memories = load_memories(args.load_memory, model.config)
    ids = torch.tensor(tokenizer(_prompt(args))["input_ids"], dtype=torch.int64)
    if not len(ids):
        raise ValueError("--prompt holds no token: give at least one character of text")
    streamer = TextStreamer(tokenizer, skip_special_tokens=True)
    made, seconds = stream_text(model, ids, streamer, args, memories)
    if args.save_memory is not None:
        save_memories(memories, args.save_memory, model.config)
    speed = f"{made} tokens, {made / seconds:,.0f} a second"
    print(f"{speed}; carrying {model.config.state_size:,} numbers, whatever the length", file=sys.stderr)


def _prompt(args: argparse.Namespace) -> str:
    return sys.stdin.read() if args.prompt == "-" else args.prompt


def load_writer(name: str) -> tuple[LMUForCausalLM, PreTrainedTokenizerBase]:
    """A saved language model and its tokenizer.

    Raises:
        InputError: they cannot be loaded.
        ValueError: it is a model of another kind.
    """
    with loading("tokenizer", name, TOKENIZER):
        tokenizer = AutoTokenizer.from_pretrained(name)
    check_writer(name)
    with loading("model", name):
        model = AutoModelForCausalLM.from_pretrained(name).eval()
    if not isinstance(model, LMUForCausalLM):
        raise ValueError(f"{name} is an {type(model).__name__}, not an LMUForCausalLM")
    return model, tokenizer


def check_writer(name: str) -> None:
    """Refuse a saved model of another kind, whose head would be drawn at random.

    Raises:
        InputError: its config cannot be loaded.
        ValueError: it is one.
    """
    head, ours = saved_head(name), LMUForCausalLM.__name__
    check_head(name, f"an {ours}", head in ("", ours), head)


@torch.inference_mode()
def stream_text(
    model: LMUForCausalLM, ids: torch.Tensor, streamer: TextStreamer, args: argparse.Namespace, memories: DynamicCache
) -> tuple[int, float]:
    """Write the prompt and what the model makes of it; how many tokens it made, and in how many seconds."""
    streamer.put(ids)
    generator = torch.Generator().manual_seed(args.seed)
    start, made, token = time.perf_counter(), 0, 0
    for token in model.stream(ids, args.max_new_tokens, args.temperature, args.top_k, generator, memories):
        streamer.put(torch.tensor([token]))
        made += 1
    seconds = time.perf_counter() - start
    streamer.end()
    if made:
        model(torch.tensor([[token]]), past_key_values=memories)  # the last token has not been read yet
    return made, seconds
