"""Train a deep language model for some hundred steps, and see whether its loss or its gradients ever jump.

    python benchmarks/benchmark_depth.py                                   # 12 x 512: half an hour on two cores
    python benchmarks/benchmark_depth.py --layers 24 --width 768           # several hours there
    python benchmarks/benchmark_depth.py --layers 2 --width 64 --steps 20  # seconds

The text is the source of Python's own standard library, as bytes. AdamW warms up over a tenth of the steps, and
gradients are clipped to --max_grad_norm, as the recipes do. Every step's loss and gradient norm, before it is clipped,
go into the line of JSON at the end. A **spike** is a step whose loss or norm is more than --spike times the
median of the twenty before it, after the warm-up.
"""

import argparse
import statistics
import sysconfig
import time
from pathlib import Path

import torch

from lmu_hf import LMUConfig, LMUForCausalLM
from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import COUNT, POSITIVE, SEED, ScriptParser, output_file
from lmu_hf.common.products import describe, fast_products
from lmu_hf.common.record import describe_architecture, publish
from peers import body_size

BEFORE = 20  # steps that a step is compared with


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The model and its training."""
    parser = ScriptParser(__doc__)
    for flag, kind, default, text in (
        ("layers", COUNT, 12, "blocks of the model"),
        ("width", COUNT, 512, "its hidden size"),
        ("steps", COUNT, 300, "training steps"),
        ("batch_size", COUNT, 4, "sequences of a step"),
        ("length", COUNT, 512, "bytes of a sequence"),
        ("learning_rate", POSITIVE, 1e-3, "peak learning rate"),
        ("max_grad_norm", POSITIVE, 1.0, "norm that gradients are scaled down to"),
        ("residual_scale", POSITIVE, None, "config field residual_initializer_scale (default: the family's)"),
        ("spike", POSITIVE, 3.0, "times the median of the steps before that make a spike"),
        ("seed", SEED, 0, "random seed of the weights and of the order of the text"),
    ):
        shown = text if default is None else f"{text} (default: %(default)s)"
        parser.add_argument(f"--{flag}", type=kind, default=default, help=shown)
    parser.add_argument("--bf16", action="store_true", help="make products in bfloat16, by torch's autocast")
    parser.add_argument("--output", type=output_file, help="file for the line of JSON (default: it is only printed)")
    return parser.parse_args(argv)


def standard_library() -> torch.Tensor:
    """The bytes of every module of Python's standard library, in the order of their names."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    return torch.frombuffer(bytearray(b"".join(path.read_bytes() for path in files)), dtype=torch.uint8)


def spikes(values: list[float], first: int, times: float) -> list[int]:
    """Steps whose value is more than so many times the median of those before."""
    found = range(max(first, BEFORE), len(values))
    # Not finite is a spike, too: no comparison with NaN is true.
    return [step for step in found if not values[step] <= times * statistics.median(values[step - BEFORE : step])]


@script
@fast_products()
def main(argv: list[str] | None = None) -> dict:
    """Train, print every tenth step, and end with one line of JSON."""
    args = parse_args(argv)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(args.seed)
    fields = {"residual_initializer_scale": args.residual_scale} if args.residual_scale else {}
    thetas = [8.0 * 2 ** (layer % 8) for layer in range(args.layers)]
    shape = {"hidden_size": args.width, "num_hidden_layers": args.layers, "memory_channels": args.width // 4}
    config = LMUConfig(vocab_size=256, order=4, theta=thetas, hidden_act="silu", norm="layer", **shape, **fields)
    with device:
        model = LMUForCausalLM(config)
    text = standard_library()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, fused=True)
    warmup = max(args.steps // 10, 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / warmup, 1.0))
    losses: list[float] = []
    norms: list[float] = []
    began = time.perf_counter()
    for step in range(args.steps):
        starts = torch.randint(len(text) - args.length, (args.batch_size,))
        ids = torch.stack([text[start : start + args.length] for start in starts.tolist()]).long().to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=args.bf16):
            loss = model(ids, labels=ids, use_cache=False).loss
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), args.max_grad_norm).item())
        losses.append(loss.item())
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 10 == 9:
            print(f"step {step + 1:>4}: loss {losses[-1]:.3f}, gradient norm {norms[-1]:.2f}", flush=True)
    found = {"loss": spikes(losses, warmup, args.spike), "gradient_norm": spikes(norms, warmup, args.spike)}
    print(f"spikes at steps: {found}; {body_size(model):,} parameters, {time.perf_counter() - began:.0f} s")
    shown = {"batch_size": args.batch_size, "length": args.length, "learning_rate": args.learning_rate}
    shown |= {"bf16": args.bf16, "max_grad_norm": args.max_grad_norm, "architecture": describe_architecture(config)}
    result = {"device": device.type, "products": describe(), "parameters": body_size(model), **shown}
    return publish(result | {"losses": losses, "gradient_norms": norms, "spikes": found}, args.output)


if __name__ == "__main__":
    main()
