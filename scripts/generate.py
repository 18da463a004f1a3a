"""Stream text from a trained LMU to the terminal, as it is made.

    python scripts/generate.py runs/python-sources-seed0/model
    python scripts/generate.py ORG/NAME --prompt "@script
def main(" --max_new_tokens 400 --temperature 0.7
    echo "import re" | python scripts/generate.py runs/python-sources-seed0/model --prompt -
    python scripts/generate.py MODEL --load_memory talk.safetensors --save_memory talk.safetensors --prompt "more"

The model carries its memories and the last token from step to step, nothing else. At the end, what that state weighs
and how fast tokens came are written to standard error. With --save_memory the state is kept in a file; --load_memory
goes on from there with a further prompt, and the text so far need not be read again.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, DynamicCache, TextStreamer
from transformers.utils.logging import disable_progress_bar

from lmu_hf import LMUForCausalLM, load_memories, save_memories
from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import AMOUNT, COUNT, SEED, ScriptParser, number, output_file
from lmu_hf.common.errors import TOKENIZER, explained, loading


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command's flags."""
    parser = ScriptParser(__doc__)
    parser.add_argument(
        "model_name_or_path",
        nargs="?",
        default="runs/python-sources-seed0/model",
        help="a model folder, or a model's name on the Hub (default: %(default)s, what train_char_lm.py leaves)",
    )
    parser.add_argument(
        "--prompt", default="\n", help="text to continue; - reads it from standard input (default: a line break)"
    )
    parser.add_argument(
        "--max_new_tokens", type=AMOUNT, default=500, help="largest number of tokens to write (default: %(default)s)"
    )
    parser.add_argument(
        "--temperature",
        type=number(float, least=0),
        default=0.8,
        help="sampling temperature; 0 takes the likeliest token (default: %(default)s)",
    )
    parser.add_argument("--top_k", type=COUNT, help="number of likeliest tokens to sample among (default: all)")
    parser.add_argument("--seed", type=SEED, default=0, help="random seed of the sampling (default: %(default)s)")
    parser.add_argument(
        "--load_memory", type=Path, help="file of a saved memory to go on from (default: an empty memory)"
    )
    parser.add_argument(
        "--save_memory", type=output_file, help="file for the memory at the end (default: it is not kept)"
    )
    args = parser.parse_args(argv)
    if args.temperature == 0:
        parser.refuse(args, "top_k", "seed", because="--temperature 0 takes the likeliest token")
    return args


@script
def main(argv: list[str] | None = None) -> None:
    """Read the prompt, stream, and say what was carried and how fast."""
    args = parse_args(argv)
    disable_progress_bar()
    name = args.model_name_or_path
    with loading("tokenizer", name, TOKENIZER):
        tokenizer = AutoTokenizer.from_pretrained(name)
    with loading("model", name):
        kinds = AutoConfig.from_pretrained(name).architectures
    if kinds and kinds != [LMUForCausalLM.__name__]:  # its head would be drawn at random
        raise ValueError(f"{name} is a {kinds[0]}, not an LMUForCausalLM")
    with loading("model", name):
        model = AutoModelForCausalLM.from_pretrained(name).eval()
    if not isinstance(model, LMUForCausalLM):
        raise ValueError(f"{name} is a {type(model).__name__}, not an LMUForCausalLM")
    memories = DynamicCache(config=model.config)
    if args.load_memory is not None:
        with explained(f"--load_memory {args.load_memory} cannot be read"):
            memories = load_memories(args.load_memory, model.config)
    prompt = sys.stdin.read() if args.prompt == "-" else args.prompt
    ids = torch.tensor(tokenizer(prompt)["input_ids"], dtype=torch.int64)
    if not len(ids):
        raise ValueError("--prompt holds no token: give at least one character of text")
    streamer = TextStreamer(tokenizer, skip_special_tokens=True)
    made, seconds = stream_text(model, ids, streamer, args, memories)
    if args.save_memory is not None:
        save_memories(memories, args.save_memory, model.config)
    speed = f"{made} tokens, {made / seconds:,.0f} a second"
    print(f"{speed}; carrying {model.config.state_size:,} numbers, whatever the length", file=sys.stderr)


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


if __name__ == "__main__":
    main()
