"""Time a classifier of sounds while it listens: what a second of sound costs, and how soon the first score is there.

    python benchmarks/benchmark_listening.py runs/words-seed0/model         # a trained model
    python benchmarks/benchmark_listening.py                                # random weights, as large as own-audio's

White noise is heard in pieces of several lengths by `model.listen`, and hop by hop by the ONNX graph `step`. The cost
is processor time on one thread for each second of sound, so that other work on the machine does not count. A first
score is there when the first piece that ends a frame has been heard: its end, and the time that reading it takes. The
last line is everything as one line of JSON.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForAudioClassification

from lmu_hf import LMUConfig, LMUForAudioClassification
from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import COUNT, POSITIVE, ScriptParser, output_file
from lmu_hf.common.record import describe_hardware, installed_versions, publish
from lmu_hf.frames_lmu import Frames
from lmu_hf.hub.export import graphs
from lmu_hf.listening_lmu import Listener
from lmu_hf.training.recipes.audio import Heard, make_recipe


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """What is measured, and how long."""
    parser = ScriptParser(__doc__)
    parser.add_argument("model", nargs="?", help="a saved model's folder (default: random weights)")
    parser.add_argument(
        "--pieces",
        type=POSITIVE,
        nargs="+",
        default=[20.0, 50.0, 100.0],
        help="lengths of a piece in milliseconds (default: %(default)s)",
    )
    parser.add_argument("--seconds", type=POSITIVE, default=20.0, help="sound that is heard (default: %(default)s)")
    parser.add_argument("--repeats", type=COUNT, default=5, help="rounds; medians are shown (default: %(default)s)")
    parser.add_argument("--output", type=output_file, help="file for the line of JSON (default: it is only printed)")
    return parser.parse_args(argv)


def make_model() -> Any:
    """A model of the size that the recipe makes of 2,000 short sounds at 8 kHz in ten classes."""
    made = make_recipe(Heard(rows=2000, classes=10, rate=8000, seconds=1000.0, median=0.5))
    entries = {name: value for name, value in made.options.items() if name != "variations"}
    frames = Frames.read({"sampling_rate": 8000, **entries})
    fields = {"input_size": frames.size, "audio": frames.record, "num_labels": 10}
    return LMUForAudioClassification(LMUConfig(**made.recipe.architecture | fields))


def hear(model: Any, signal: np.ndarray, samples: int) -> dict[str, float]:
    """The cost of hearing a signal in pieces of so many samples, on one thread, and when its first score was there."""
    listener, rate = Listener(model), model.config.audio["sampling_rate"]
    start = time.process_time()
    first = None
    for end in range(samples, len(signal) + 1, samples):
        heard = listener.hear(signal[end - samples : end])
        if first is None and heard is not None:
            first = end / rate + time.process_time() - start
    return {
        "cost": (time.process_time() - start) / (len(signal) / rate),
        "first_seconds": first or 0.0,
        "state_bytes": listener.state_bytes,
    }


def hear_by_onnx(model: Any, signal: np.ndarray) -> dict[str, float]:
    """The cost of hearing a signal hop by hop, by onnxruntime on one thread."""
    import onnxruntime

    step, frames, rate = graphs(model)["step"], Frames.read(model.config.audio), model.config.audio["sampling_rate"]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        step.write_onnx(Path(folder) / "step.onnx")
        session = onnxruntime.InferenceSession(Path(folder) / "step.onnx", options, providers=["CPUExecutionProvider"])
    names = [name for name in step.inputs if name != "samples"]
    given = {name: np.zeros_like(example[:1].numpy()) for name, example in step.inputs.items()}
    given["frames"] = np.zeros(1, dtype=np.int64)
    samples = signal.astype(np.float32)[None]
    given["tail"] = samples[:, : frames.overlap]
    start = time.process_time()
    for begin in range(frames.overlap, samples.shape[1] - frames.hop + 1, frames.hop):
        _, *held = session.run(None, {**given, "samples": samples[:, begin : begin + frames.hop]})
        given |= dict(zip(names, held, strict=True))
    state = sum(array.nbytes for name, array in given.items() if name != "samples")
    cost = (time.process_time() - start) / (len(signal) / rate)
    return {"cost": cost, "first_seconds": frames.length / rate + cost * frames.hop / rate, "state_bytes": state}


@script
def main(argv: list[str] | None = None) -> list[dict[str, Any]]:
    """Measure, print a table, and publish it."""
    args = parse_args(argv)
    torch.set_num_threads(1)
    model = make_model() if args.model is None else AutoModelForAudioClassification.from_pretrained(args.model)
    model = model.float().eval()
    rate = model.config.audio["sampling_rate"]
    signal = np.random.default_rng(0).normal(0, 0.1, int(args.seconds * rate))
    ways: dict[str, Callable[[], dict[str, float]]] = {
        f"listen, pieces of {piece:g} ms": partial(hear, model, signal, max(1, round(piece * rate / 1000)))
        for piece in args.pieces
    }
    ways["ONNX step, hop by hop"] = partial(hear_by_onnx, model, signal)
    rows = []
    for way, measure in ways.items():
        rounds = [measure() for _ in range(args.repeats)]
        row = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
        rows.append({"way": way, **row})
        print(
            f"{way:<28} {100 * row['cost']:6.2f} % of a core, first score after {1000 * row['first_seconds']:.0f} ms, "
            f"{row['state_bytes']:,.0f} bytes carried"
        )
    publish(
        {
            "parameters": sum(weight.numel() for weight in model.parameters()),
            "rows": rows,
            "versions": installed_versions(),
            "hardware": describe_hardware(),
        },
        args.output,
    )
    return rows


if __name__ == "__main__":
    main()
