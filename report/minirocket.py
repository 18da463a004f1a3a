"""MiniRocket on sets of the UCR and UEA archives, as aeon has it: the model that people use for short series.

    python -m venv peers && peers/bin/pip install aeon        # or the extra peers of this package
    peers/bin/python report/minirocket.py --data_dir UCR --output records/series_sets.json

Dempster, Schmidt and Webb, arXiv 2012.08791. It takes series of equal length only, so shorter ones end in zeros. An
output that is there already keeps its rows, those of `report/series.py` among them. This script needs aeon alone.
"""

import argparse
import importlib.metadata
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

SETS = ("GunPoint", "ArrowHead", "ItalyPowerDemand", "BasicMotions", "JapaneseVowels", "PickupGestureWiimoteZ")


def main() -> None:
    """Fit, score and write, set by set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data_dir", type=Path, default=Path("data"), help="folder of sets, as DIR/GunPoint/GunPoint_TRAIN.ts"
    )
    parser.add_argument("--sets", nargs="+", default=list(SETS), help="which (default: the six of the table)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="random seeds (default: 0 1 2)")
    parser.add_argument("--output", type=Path, help="file for the rows (default: they are only printed)")
    args = parser.parse_args()
    for name in args.sets:
        for seed in args.seeds:
            row = score(args.data_dir, name, seed)
            print(f"{name}, seed {seed}: test accuracy {100 * row['metrics']['test']['accuracy']:.1f} %", flush=True)
            if args.output is not None:
                add_row(row, args.output)


def score(data_dir: Path, name: str, seed: int) -> dict[str, Any]:
    """One fit to all training rows, scored on the test rows."""
    from aeon.classification.convolution_based import MiniRocketClassifier  # late, so that --help needs no aeon

    (seen, labels), (held, truth) = (load(data_dir / name / f"{name}_{split}.ts") for split in ("TRAIN", "TEST"))
    longest = max(series.shape[1] for series in [*seen, *held])
    start = time.perf_counter()
    model = MiniRocketClassifier(random_state=seed, n_jobs=1).fit(padded(seen, longest), labels)
    accuracy = float((model.predict(padded(held, longest)) == truth).mean())
    return {
        "set": name,
        "model": "MiniRocket",
        "seed": seed,
        "metrics": {"test": {"accuracy": accuracy}},
        "wall_seconds": round(time.perf_counter() - start, 1),
        "versions": {"aeon": importlib.metadata.version("aeon")},
    }


def load(path: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """Series (channels, steps) and their labels."""
    from aeon.datasets import load_from_ts_file

    values, labels = load_from_ts_file(str(path))
    return [np.asarray(series, dtype=np.float32) for series in values], np.asarray(labels)


def padded(series: list[np.ndarray], steps: int) -> np.ndarray:
    """(series, channels, steps), shorter ones with zeros behind them."""
    return np.stack([np.pad(one, ((0, 0), (0, steps - one.shape[1]))) for one in series])


def add_row(row: dict[str, Any], output: Path) -> None:
    """Write a row in the place of an earlier one of its kind."""
    there = json.loads(output.read_text(encoding="utf-8"))["rows"] if output.exists() else []
    key = row["set"], row["model"], row["seed"]
    kept = [other for other in there if (other["set"], other["model"], other["seed"]) != key]
    output.write_text(json.dumps({"rows": [*kept, row]}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
