"""Train on files as people have them by the plain command, and keep what came out of it.

    python report/own_files.py --data_dir data --output records/own_files.json
    python report/own_files.py --data_dir data --files questions --seeds 0 --train_rows 200 --output few.json
    python report/own_files.py --data_dir data --from_scratch --output records/own_files.json
    python report/own_files.py --data_dir data --baseline lstm --output lstm.json

A command names the file and its columns and nothing else, so the rows make the recipe. QQP, MRPC, RTE and SNLI are
pairs of texts; of QQP, RTE, SNLI and SST-2 the test is the validation split, since the test's labels are not at hand.
Of IMDB there are 2,000 reviews to train on and 2,000 to test on, `sample(2000, random_state=0)` of either split. Each
test split is read once a run. An output that is there already keeps its rows: runs that are made again replace their
own, and the others stay.
"""

import argparse
import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

from calling import call, rows_of
from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import AMOUNT, COUNT, POSITIVE, ScriptParser, output_file
from lmu_hf.common.record import RunRecord, publish
from lmu_hf.hub import markup


def _parquet(folder: str, test: str) -> tuple[str, str]:
    """The files of a data set: the one to train on, and that of the split that is the test."""
    return f"{folder}/train-00000-of-00001.parquet", f"{folder}/{test}-00000-of-00001.parquet"


def _glue(task: str, test: str) -> tuple[str, str]:
    return _parquet(f"nyu-mll/glue/{task}", test)


# Files of each, the columns that are named, and the accuracy of a linear model of tf-idf (of pairs with the words that
# both share) on the test split as others measured it.
FILES: dict[str, tuple[str, str, str, str, float | None]] = {
    "movie-reviews": ("own/movie-reviews/train.csv", "own/movie-reviews/test.csv", "review", "sentiment", 77.1),
    "questions": ("own/questions/train.tsv", "own/questions/test.tsv", "question", "kind", 90.8),
    "product-reviews": ("own/product-reviews/train.jsonl", "own/product-reviews/test.jsonl", "text", "stars", 85.4),
    "imdb-2000": ("imdb-train.csv", "imdb-test.csv", "text", "label", 85.9),
    "qqp": (*_glue("qqp", "validation"), "question1+question2", "label", 78.5),
    "mrpc": (*_glue("mrpc", "test"), "sentence1+sentence2", "label", 74.8),
    "rte": (*_glue("rte", "validation"), "sentence1+sentence2", "label", 58.1),
    "snli": (*_parquet("stanfordnlp/snli/plain_text", "validation"), "premise+hypothesis", "label", 64.9),
    "sst2": (*_glue("sst2", "validation"), "sentence", "label", None),
}


@script
def main(argv: list[str] | None = None) -> None:
    """Run every command that is asked for and write what came out."""
    args = parse_args(argv)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(args.jobs) as pool:
        work = Path(folder)
        if "imdb-2000" in args.files:
            write_imdb(args.data_dir, work)
        jobs = [(name, seed) for name in args.files for seed in args.seeds]
        rows = list(pool.map(lambda job: train(args, work, *job), jobs))
    again = {key_of(row) for row in rows}
    publish({"rows": [row for row in rows_of(args.output) if key_of(row) not in again] + rows}, args.output)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command's flags."""
    parser = ScriptParser(__doc__)
    text = "folder of data sets, with files of one's own in own/ (default: %(default)s)"
    parser.add_argument("--data_dir", type=Path, default=Path("data"), help=text)
    parser.add_argument(
        "--files", nargs="+", choices=FILES, default=list(FILES), help="what to train on (default: all)"
    )
    text = "minutes of each run (default: the verb's own)"
    parser.add_argument("--minutes", type=POSITIVE, help=text)
    parser.add_argument("--seeds", nargs="+", type=AMOUNT, default=[0, 1, 2], help="random seeds (default: 0 1 2)")
    parser.add_argument("--train_rows", type=COUNT, help="rows to train on, drawn with seed 0 (default: all of a file)")
    text = "train a model of the rows alone, without the pre-trained one (default: as the rows suggest)"
    parser.add_argument("--from_scratch", action="store_true", help=text)
    parser.add_argument("--baseline", choices=("lstm",), help="model in the LMU's place (default: the LMU)")
    parser.add_argument(
        "--jobs", type=COUNT, default=1, help="runs at a time, each of one thread (default: %(default)s)"
    )
    parser.add_argument("--output", type=output_file, help="file for the rows (default: they are only printed)")
    return parser.parse_args(argv)


def write_imdb(data_dir: Path, folder: Path) -> None:
    """2,000 reviews of either split, as a file that somebody might have."""
    for split in ("train", "test"):
        (path,) = (data_dir / "stanfordnlp" / "imdb").rglob(f"{split}-*.parquet")
        rows = pd.read_parquet(path).sample(2000, random_state=0)
        rows.to_csv(folder / f"imdb-{split}.csv", index=False)


def fewer(path: Path, count: int, folder: Path) -> Path:
    """So many lines of a file with a header or of JSON lines, drawn with seed 0."""
    if path.suffix == ".jsonl":
        rows = pd.Series(path.read_text(encoding="utf-8").splitlines())
        lines = rows.sample(count, random_state=0).tolist()
    else:
        separator, quoting = ("\t", 3) if path.suffix == ".tsv" else (",", 0)
        table = pd.read_csv(path, sep=separator, quoting=quoting, keep_default_na=False, dtype=str)
        lines = table.sample(count, random_state=0).to_csv(index=False, sep=separator, quoting=quoting).splitlines()
    made = folder / f"{path.parent.name}-{count}{path.suffix}"
    made.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return made


def train(args: argparse.Namespace, work: Path, name: str, seed: int) -> dict[str, Any]:
    """One run by the plain command, in a process of its own."""
    *paths, text, label, _ = FILES[name]
    base = work if name == "imdb-2000" else args.data_dir
    train_file, test_file = (base / path for path in paths)
    if args.train_rows is not None:
        train_file = fewer(train_file, args.train_rows, work)
    folder = work / "runs" / f"{name}-{seed}"
    text, _, pair = text.partition("+")
    words = ["--train_file", train_file, "--test_file", test_file, "--text_column", text, "--label_column", label]
    words += ["--text_pair_column", pair] if pair else []
    words += ["--seed", seed, "--output_dir", folder, "--report_to", "none", "--quiet"]
    words += [] if args.baseline is None else ["--baseline", args.baseline]
    words += ["--from_scratch"] if args.from_scratch else []
    words += [] if args.minutes is None else ["--minutes", args.minutes]
    threads = {"OMP_NUM_THREADS": "1"} if args.jobs > 1 else {}
    call(f"{name}, seed {seed}", "train_glue", *words, **threads)
    record = RunRecord.read(folder)
    print(f"{name}, seed {seed}: test accuracy {100 * record.metrics['test']['accuracy']:.1f} %", file=sys.stderr)
    kept = ("metrics", "lines", "parts", "parameters", "wall_seconds", "commit", "versions", "hardware", "reasons")
    return {
        "file": name,
        "train_rows": args.train_rows,
        "baseline": args.baseline,
        "stack": record.data["stack"],
        "seed": seed,
        "rows": record.data["rows"],
        **{field: getattr(record, field) for field in kept},
    }


def key_of(row: dict[str, Any]) -> tuple:
    """What tells a run from the others."""
    return row["file"], row["train_rows"], row["baseline"], row["stack"], row["seed"]


def render(records: Path) -> dict[str, str]:
    """The table of the page, by the name between its markers."""
    rows = json.loads((records / "own_files.json").read_text(encoding="utf-8"))["rows"]
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault(key_of(row)[:-1], []).append(row)
    lines = []
    for (name, train_rows, baseline, stack), runs in groups.items():
        both = [100 * run["metrics"]["test"]["accuracy"] for run in runs]
        classical = next(key for key in runs[0]["lines"] if key.startswith("tf-idf"))
        parts = [_mean([run["parts"].get(part, {}) for run in runs]) for part in ("n-grams alone", "memory alone")]
        measured = FILES[name][-1] if train_rows is None else None
        goal = "" if measured is None else f"{measured:.1f}"
        spread = f"{sum(both) / len(both):.1f} ({min(both):.1f} to {max(both):.1f})"
        seconds = sum(run["wall_seconds"] for run in runs) / len(runs)
        used = f"{runs[0]['rows']['train'] + runs[0]['rows']['validation']:,}"
        line = _mean([run["lines"][classical] for run in runs])
        lines.append(
            [
                name,
                (baseline or "LMU").upper() + (", pre-trained" if stack else ""),
                used,
                line,
                goal,
                *parts,
                spread,
                f"{seconds:.0f}",
            ]
        )
    head = ["file", "model", "rows", "tf-idf, same rows", "tf-idf, measured elsewhere", "n-grams alone", "memory alone"]
    return {"own-files": markup.table([*head, "both, test", "seconds"], lines)}


def _mean(scores: list[dict]) -> str:
    found = [100 * score["test"]["accuracy"] for score in scores if "test" in score]
    return f"{sum(found) / len(found):.1f}" if found else ""


if __name__ == "__main__":
    main()
