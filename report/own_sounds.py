"""Train on spoken digits by the plain command: their own test split, and each speaker left out in turn.

    python report/own_sounds.py --data_dir data --runs runs/digits --output records/own_sounds.json
    python report/own_sounds.py --data_dir data --runs runs/digits --only own-seed0 own-seed0-lstm --minutes 30

The data are folders of WAV files, own/spoken-digits/train and test. Every run is kept below --runs: one that is
complete is read and not trained again, one that was interrupted goes on. A model is then scored with white noise at
10 dB in every test sound. An output that is there already keeps the rows of runs that are not made now.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from calling import call, rows_of
from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import POSITIVE, ScriptParser, output_file
from lmu_hf.common.record import RunRecord, publish
from lmu_hf.hub import markup

ONE_THREAD = {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": "1"}
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo")
SEEDS = (0, 1, 2)
NOISE = 10.0  # decibels
# Of each run its flags beside the training folder.
RUNS: dict[str, list[str]] = {
    **{
        f"own-seed{seed}{ending}": ["--test_file", "test", "--seed", str(seed), *more]
        for ending, more in (("", []), ("-lstm", ["--baseline", "lstm"]))
        for seed in SEEDS
    },
    **{
        f"fold-{name}{ending}": ["--path_pattern", "{label}_{group}_*", "--held_out_group", name, *more]
        for ending, more in (("", []), ("-lstm", ["--baseline", "lstm"]))
        for name in SPEAKERS
    },
}
CHOSEN_ON = ("george", "theo", "lucas")  # the speakers that the recipe was chosen on; the others were not looked at
# Tests by name, and whether a run is one of it.
TESTS: dict[str, Callable[[str], bool]] = {
    "own test split": lambda run: run.startswith("own"),
    "five speakers left out": lambda run: run.startswith("fold"),
    "two of them, never chosen on": lambda run: run.startswith("fold") and run.split("-")[1] not in CHOSEN_ON,
}


@script
def main(argv: list[str] | None = None) -> None:
    """Make every run that is asked for and write what came out."""
    args = parse_args(argv)
    rows = [row_of(args, name) for name in args.only]
    publish({"rows": [row for row in rows_of(args.output) if row["run"] not in args.only] + rows}, args.output)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command's flags."""
    parser = ScriptParser(__doc__)
    text = "folder of data sets, with own/spoken-digits in it (default: %(default)s)"
    parser.add_argument("--data_dir", type=Path, default=Path("data"), help=text)
    text = "folder in which run folders are kept (default: %(default)s)"
    parser.add_argument("--runs", type=Path, default=Path("runs/spoken-digits"), help=text)
    text = "runs to make (default: all)"
    parser.add_argument("--only", nargs="+", choices=RUNS, default=list(RUNS), metavar="RUN", help=text)
    parser.add_argument("--minutes", type=POSITIVE, help="budget of each run (default: the recipe's)")
    parser.add_argument("--output", type=output_file, help="file for the rows (default: they are only printed)")
    return parser.parse_args(argv)


def row_of(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """One run, trained where it is not complete yet, and its score in noise."""
    data, folder = args.data_dir / "own" / "spoken-digits", args.runs / name
    flags = [str(data / "test") if flag == "test" else flag for flag in RUNS[name]]
    if not (folder / "run.json").is_file():
        words = ["--train_file", str(data / "train"), *flags, "--output_dir", str(folder), "--quiet"]
        words += ["--report_to", "none", *([] if args.minutes is None else ["--minutes", f"{args.minutes:g}"])]
        words += ["--resume_from_checkpoint", "auto"] if any(folder.glob("checkpoints/*")) else []
        call(name, "train_audio", *words, **ONE_THREAD)
    record = RunRecord.read(folder)
    with tempfile.TemporaryDirectory() as made:
        output = Path(made) / "scores.json"
        call(name, "evaluate", folder / "model", "--noise_db", f"{NOISE:g}", "--output", output, **ONE_THREAD)
        noisy = json.loads(output.read_text(encoding="utf-8"))["scores"]
    print(f"{name}: test accuracy {100 * record.metrics['test']['accuracy']:.1f} %", file=sys.stderr)
    kept = ("metrics", "lines", "parameters", "steps", "wall_seconds", "command", "commit", "versions", "hardware")
    return {
        "run": name,
        "baseline": record.baseline,
        "epochs": record.hyperparameters["epochs"],
        "rows": record.data["rows"],
        "noise": {"decibels": NOISE, "test": noisy},
        **{field: getattr(record, field) for field in kept},
    }


def render(records: Path) -> dict[str, str]:
    """The tables of the page, by the names between their markers."""
    heard = json.loads((records / "benchmark_listening.json").read_text(encoding="utf-8"))["rows"]
    head = ["test", "model", "runs", "parameters", "accuracy", f"with noise at {NOISE:g} dB", "ridge"]
    return {"own-sounds": markup.table(head, _lines(records)), "listening": listening_table(heard)}


def headline(records: Path) -> list[str]:
    """The row of the README: voices that training has heard, other recordings."""
    lmu, lstm = (line[4].partition(" ")[0] for line in _lines(records)[:2])
    ridge = _lines(records)[0][-1].partition(" ")[0]
    return ["Spoken digits, %", lmu, lstm, f"{ridge} (ridge on mean bands)", "–", "–"]


def _lines(records: Path) -> list[list[str]]:
    """A row for each test and model."""
    rows = json.loads((records / "own_sounds.json").read_text(encoding="utf-8"))["rows"]
    return [
        _line(test, baseline, runs)
        for test, is_one in TESTS.items()
        for baseline in (None, "lstm")
        if (runs := [row for row in rows if row["baseline"] == baseline and is_one(row["run"])])
    ]


def listening_table(rows: list[dict[str, Any]]) -> str:
    """What `benchmarks/benchmark_listening.py` measured, as it left it in its JSON file."""
    head = ["way", "% of a core", "first score, ms", "bytes carried"]
    return markup.table(
        head,
        [
            [row["way"], f"{100 * row['cost']:.1f}", f"{1000 * row['first_seconds']:.0f}", f"{row['state_bytes']:,.0f}"]
            for row in rows
        ],
    )


def _line(test: str, baseline: str | None, runs: list[dict[str, Any]]) -> list[str]:
    ridge = next(name for name in runs[0]["lines"] if name.startswith("ridge"))
    scores = [
        [100 * run["metrics"]["test"]["accuracy"] for run in runs],
        [100 * run["noise"]["test"]["accuracy"] for run in runs],
        [100 * run["lines"][ridge]["test"]["accuracy"] for run in runs],
    ]
    name = "LMU" if baseline is None else baseline.upper()
    return [test, name, str(len(runs)), f"{runs[0]['parameters']['total']:,}", *map(_spread, scores)]


def _spread(scores: list[float]) -> str:
    mean = f"{sum(scores) / len(scores):.1f}"
    return mean if len(scores) == 1 else f"{mean} ({min(scores):.1f} to {max(scores):.1f})"


if __name__ == "__main__":
    main()
