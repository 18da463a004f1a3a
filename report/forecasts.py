"""Forecast the transformer temperatures of ETTh1 by the plain command, and keep what came out of it.

    python report/forecasts.py --train_file data/own/transformer-temperature/ETTh1.csv --output records/forecasts.json
    python report/forecasts.py --train_file ETTh1.csv --horizons 96 --baseline lstm --output records/forecasts.json

The published protocol: seven channels, standardised by the training part; 12, 4 and 4 months of hours train, validate
and test; every window of the test counts. One command for all horizons; the rows make the recipe, and the test is read
once a run. An output that is there already keeps its rows: runs that are made again replace their own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import COUNT, ScriptParser, output_file
from lmu_hf.common.record import RunRecord, publish
from lmu_hf.hub import markup

PROJECT = Path(__file__).parent.parent
SPLIT = ("8640", "2880", "2880")  # hours
# By horizon the published errors of DLinear and of PatchTST/64, as their papers print them.
PUBLISHED = {96: (0.375, 0.370), 192: (0.405, 0.413), 336: (0.439, 0.422), 720: (0.472, 0.447)}


@script
def main(argv: list[str] | None = None) -> None:
    """Run every command that is asked for and write what came out."""
    args = parse_args(argv)
    for horizon in args.horizons:
        row = train(args, horizon)
        there = args.output is not None and args.output.exists()
        kept = json.loads(args.output.read_text(encoding="utf-8"))["rows"] if there else []
        # Written after each run, so that none is lost to one that fails.
        publish({"rows": [other for other in kept if key_of(other) != key_of(row)] + [row]}, args.output)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command's flags."""
    parser = ScriptParser(__doc__)
    parser.add_argument("--train_file", type=Path, default=Path("ETTh1.csv"), help="the table (default: %(default)s)")
    text = "time steps to forecast (default: 96 192 336 720)"
    parser.add_argument("--horizons", nargs="+", type=COUNT, default=list(PUBLISHED), help=text)
    parser.add_argument("--baseline", choices=("lstm",), help="model in the LMU's place (default: the LMU)")
    parser.add_argument("--output", type=output_file, help="file for the rows (default: they are only printed)")
    return parser.parse_args(argv)


def train(args: argparse.Namespace, horizon: int) -> dict[str, Any]:
    """One run by the plain command, in a process of its own."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "run"
        words = ["--train_file", args.train_file, "--split_steps", *SPLIT, "--prediction_length", horizon]
        words += ["--output_dir", folder, "--report_to", "none", "--quiet"]
        words += [] if args.baseline is None else ["--baseline", args.baseline]
        command = [sys.executable, PROJECT / "scripts" / "train_forecast.py", *words]
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{horizon} steps: {done.stderr.strip().splitlines()[-1]}")
        record = RunRecord.read(folder)
    print(f"{horizon} steps: test MSE {record.metrics['test']['mse']:.4f}", file=sys.stderr)
    kept: tuple[str, ...] = (
        "data",
        "metrics",
        "lines",
        "parameters",
        "hyperparameters",
        "steps",
        "wall_seconds",
        "reasons",
    )
    kept += ("commit", "versions", "hardware")
    return {
        "horizon": horizon,
        "baseline": args.baseline,
        "channels": record.details["test"]["channels"],
        **{field: getattr(record, field) for field in kept},
    }


def key_of(row: dict[str, Any]) -> tuple:
    """What tells a run from the others."""
    return row["horizon"], row["baseline"]


def render(records: Path) -> dict[str, str]:
    """The table of the page, by the name between its markers: test errors by horizon."""
    head = ["steps", "season before", "linear, solved here", "LSTM", "LMU", "DLinear", "PatchTST", "seconds"]
    return {"forecasts": markup.table(head, _lines(records))}


def headline(records: Path) -> list[str]:
    """The row of the README: the shortest horizon."""
    steps, _, linear, lstm, lmu, _, best, _ = _lines(records)[0]
    return [f"ETTh1, {steps} steps ahead, MSE", lmu, lstm, f"{linear} (linear)", "–", f"{best} (PatchTST)"]


def _lines(records: Path) -> list[list[str]]:
    """A row for each horizon."""
    rows = json.loads((records / "forecasts.json").read_text(encoding="utf-8"))["rows"]
    found = {key_of(row): row for row in rows}
    lines = []
    for horizon in sorted({row["horizon"] for row in rows}):
        lmu, lstm = found[horizon, None], found.get((horizon, "lstm"))
        naive, linear = (
            next(name for name in lmu["lines"] if name.startswith(kind)) for kind in ("seasonal", "linear")
        )
        errors = [lmu["lines"][name]["test"]["mse"] for name in (naive, linear)]
        errors += [None if lstm is None else lstm["metrics"]["test"]["mse"], lmu["metrics"]["test"]["mse"]]
        cells = ["" if error is None else f"{error:.3f}" for error in (*errors, *PUBLISHED[horizon])]
        lines.append([f"{horizon}", *cells, f"{lmu['wall_seconds']:.0f}"])
    return lines


if __name__ == "__main__":
    main()
