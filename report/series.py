"""Train on sets of the UCR and UEA archives by the plain command, and keep what came out of it.

    python report/series.py --data_dir UCR --output records/series_sets.json
    python report/series.py --data_dir UCR --baseline lstm --output records/series_sets.json
    python report/minirocket.py --data_dir UCR --output records/series_sets.json    # needs aeon: the extra peers

A set lies in DIR/NAME as NAME_TRAIN.ts and NAME_TEST.ts; the package aeon brings the six of the table with it, in
aeon/datasets/data. The command names the set and nothing else, so the rows make the recipe. Each test split is read
once a run. An output that is there already keeps its rows: runs that are made again replace their own.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import AMOUNT, ScriptParser, output_file
from lmu_hf.common.record import RunRecord, publish
from lmu_hf.hub import markup
from lmu_hf_cli import run

SETS = ("GunPoint", "ArrowHead", "ItalyPowerDemand", "BasicMotions", "JapaneseVowels", "PickupGestureWiimoteZ")
LINES = ("majority", "logistic regression on values", "ridge classifier on signal features")
MINIROCKET = "MiniRocket"
KEPT = ("metrics", "lines", "parameters", "wall_seconds", "commit", "versions", "hardware", "reasons")


@script
def main(argv: list[str] | None = None) -> None:
    """Run every command that is asked for and write what came out."""
    args = parse_args(argv)
    for name in args.sets:
        for seed in args.seeds:
            with tempfile.TemporaryDirectory() as folder:
                row = train(args, Path(folder) / "run", name, seed)
            add_row(row, args.output)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command's flags."""
    parser = ScriptParser(__doc__)
    text = "folder of sets, as DIR/GunPoint/GunPoint_TRAIN.ts (default: %(default)s)"
    parser.add_argument("--data_dir", type=Path, default=Path("data"), help=text)
    parser.add_argument(
        "--sets", nargs="+", default=list(SETS), help="what to train on (default: the six of the table)"
    )
    parser.add_argument("--seeds", nargs="+", type=AMOUNT, default=[0, 1, 2], help="random seeds (default: 0 1 2)")
    parser.add_argument("--baseline", choices=("lstm",), help="model in the LMU's place (default: the LMU)")
    parser.add_argument("--output", type=output_file, help="file for the rows (default: they are only printed)")
    return parser.parse_args(argv)


def train(args: argparse.Namespace, folder: Path, name: str, seed: int) -> dict[str, Any]:
    """One run by the plain command, in this process."""
    words = ["--dataset_name", name, "--data_dir", str(args.data_dir), "--seed", str(seed)]
    words += ["--output_dir", str(folder), "--report_to", "none", "--quiet"]
    words += [] if args.baseline is None else ["--baseline", args.baseline]
    run("train series", argv=words)
    record = RunRecord.read(folder)
    print(f"{name}, seed {seed}: test accuracy {100 * record.metrics['test']['accuracy']:.1f} %", file=sys.stderr)
    said = {field: getattr(record, field) for field in KEPT}
    return {"set": name, "model": args.baseline or "lmu", "seed": seed, "rows": record.data["rows"], **said}


def add_row(row: dict[str, Any], output: Path | None) -> None:
    """Write a run at once, beside those that are there, in the place of an earlier one of its kind."""
    there = json.loads(output.read_text(encoding="utf-8"))["rows"] if output is not None and output.exists() else []
    publish({"rows": [other for other in there if key_of(other) != key_of(row)] + [row]}, output)


def key_of(row: dict[str, Any]) -> tuple:
    """What tells a run from the others."""
    return row["set"], row["model"], row["seed"]


def render(records: Path) -> dict[str, str]:
    """The table of the page, by the name between its markers."""
    head = ["set, training / test rows", "majority", "logistic regression", "ridge on features", *MODELS.values()]
    return {"series-sets": markup.table(head, _lines(records))}


def headline(records: Path) -> list[str]:
    """The row of the README: means over the sets."""
    _, _, _, ridge, lstm, minirocket, lmu = _lines(records)[-1]
    return [
        "Six sets of series, %",
        lmu,
        lstm,
        f"{ridge} (ridge on features)",
        "–",
        f"{minirocket} (MiniRocket, run here)",
    ]


def _lines(records: Path) -> list[list[str]]:
    """A row for each set, and their means."""
    rows = json.loads((records / "series_sets.json").read_text(encoding="utf-8"))["rows"]
    table = []
    columns: list[list[float | None]] = []
    for name in SETS:
        runs = {model: [row for row in rows if row["set"] == name and row["model"] == model] for model in MODELS}
        lines = [_line(runs["lmu"], line) for line in LINES]
        columns.append([*lines, *(_mean(some) for some in runs.values())])
        counts = runs["lmu"][0]["rows"]
        used = f"{counts['train'] + counts['validation']} / {counts['test']}"
        table.append([f"{name}, {used}", *map(_shown, columns[-1])])
    means = [None if None in column else sum(column) / len(column) for column in zip(*columns, strict=True)]
    return [*table, ["mean", *map(_shown, means)]]


MODELS = {"lstm": "LSTM", MINIROCKET: "MiniRocket", "lmu": "LMU"}


def _line(runs: list[dict[str, Any]], line: str) -> float | None:
    scores = [100 * run["lines"][line]["test"]["accuracy"] for run in runs]
    return sum(scores) / len(scores) if scores else None


def _mean(runs: list[dict[str, Any]]) -> float | None:
    scores = [100 * run["metrics"]["test"]["accuracy"] for run in runs]
    return sum(scores) / len(scores) if scores else None


def _shown(score: float | None) -> str:
    return "–" if score is None else f"{score:.1f}"


if __name__ == "__main__":
    main()
