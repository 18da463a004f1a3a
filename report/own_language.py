"""Train on pairs of sentences and on running text by the plain commands, as an LSTM too, beside what needs no training.

    python report/own_language.py --data_dir data --runs runs/language --output records/own_language.json
    python report/own_language.py --data_dir data --runs runs/language --only text-100k text-100k-lstm

The pairs are Multi30k's captions, as a CSV that somebody might have; its validation and test captions validate and
test. The texts are the first characters of the Penn Treebank, which the model in the box has not read; runs that end in
-on go on from that one. Every run is kept below --runs: one that is complete is read and not trained again, one that
was interrupted goes on. Translations are also scored by the length of what is translated. An output that is there
already keeps the rows of runs that are not made now.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from calling import call, rows_of
from comparing import score_by_length
from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import COUNT, POSITIVE, ScriptParser, output_file
from lmu_hf.common.record import RunRecord, publish
from lmu_hf.hub import markup

GROUPS = 5  # of about as many captions, by their words
TEXTS = {"100k": 111_111, "1m": 1_111_111}  # characters, of which the last tenth is held out in two equal parts
JOBS = ("captions", *(f"text-{size}" for size in TEXTS))
# Of each run what its name ends in, and the flags beside the data.
MODELS = {"": [], "-lstm": ["--baseline", "lstm"], "-on": ["--model_name_or_path", "lmu-small-en"]}
RUNS = [f"{job}{ending}" for job in JOBS for ending in MODELS if job != "captions" or ending != "-on"]


@script
def main(argv: list[str] | None = None) -> None:
    """Make every run that is asked for and write what came out."""
    args = parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        rows = [row_of(args, Path(folder), name) for name in args.only]
    by_name = {row["run"]: row for row in [*rows_of(args.output), *rows]}
    publish({"rows": [by_name[name] for name in RUNS if name in by_name]}, args.output)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command's flags."""
    parser = ScriptParser(__doc__)
    text = "folder of data sets, with multi30k-en-de and ptb-char in it (default: %(default)s)"
    parser.add_argument("--data_dir", type=Path, default=Path("data"), help=text)
    text = "folder for the runs (default: %(default)s)"
    parser.add_argument("--runs", type=Path, default=Path("runs/language"), help=text)
    text = "minutes of each run (default: the verb's own)"
    parser.add_argument("--minutes", type=POSITIVE, help=text)
    text = "passes of each run over its text or pairs (default: as the minutes allow)"
    parser.add_argument("--num_train_epochs", type=COUNT, help=text)
    text = "runs to make (default: all)"
    parser.add_argument("--only", nargs="+", choices=RUNS, default=RUNS, metavar="RUN", help=text)
    parser.add_argument("--output", type=output_file, help="file for the rows (default: they are only printed)")
    return parser.parse_args(argv)


def row_of(args: argparse.Namespace, work: Path, name: str) -> dict[str, Any]:
    """A run by the plain command, and what came out of it."""
    job = next(job for job in JOBS if name.startswith(job))
    folder = args.runs / name
    words = ["--output_dir", folder, "--resume_from_checkpoint", "auto", "--report_to", "none", "--quiet"]
    budget = {"--minutes": args.minutes, "--num_train_epochs": args.num_train_epochs}
    words += [word for flag, value in budget.items() if value is not None for word in (flag, value)]
    words += MODELS[name.removeprefix(job)]
    if job == "captions":
        files = {split: write_captions(args.data_dir, work, split) for split in ("train", "validation", "test")}
        given = [word for split, path in files.items() for word in (f"--{split}_file", path)]
        call(name, "train_translation", *given, "--source_column", "en", "--target_column", "de", *words)
    else:
        path = write_text(args.data_dir, work, TEXTS[job.removeprefix("text-")])
        call(name, "train_char_lm", "--train_file", path, *words)
    record = RunRecord.read(folder)
    kept = ("metrics", "lines", "parameters", "wall_seconds", "commit", "versions", "hardware", "reasons")
    row = {"run": name, "job": job, "minutes": args.minutes, "epochs": args.num_train_epochs, "seed": record.seed}
    row |= {"data": record.data, **{field: getattr(record, field) for field in kept}}
    if job == "captions":
        report = work / f"{name}.json"
        call(name, "evaluate", folder, "--by_length", GROUPS, "--output", report)
        row["by_length"] = json.loads(report.read_text(encoding="utf-8"))
    return row


def write_captions(data_dir: Path, folder: Path, split: str) -> Path:
    """Multi30k's captions of a split as a CSV with a column for each language."""
    (path,) = (data_dir / "multi30k-en-de").glob(f"{split}-*.parquet")
    made = folder / f"captions-{split}.csv"
    pd.DataFrame(list(pd.read_parquet(path)["translation"])).to_csv(made, index=False)
    return made


def write_text(data_dir: Path, folder: Path, characters: int) -> Path:
    """The first characters of the Penn Treebank as a file, a sentence on each line."""
    (path,) = (data_dir / "ptb-char").glob("train-*.parquet")
    made = folder / f"treebank-{characters}.txt"
    made.write_text("\n".join(pd.read_parquet(path)["text"])[:characters], encoding="utf-8")
    return made


def render(records: Path) -> dict[str, str]:
    """The tables of the page, by the names between their markers."""
    rows = json.loads((records / "own_language.json").read_text(encoding="utf-8"))["rows"]
    return {
        "own-translation": _table([row for row in rows if row["job"] == "captions"], "bleu", "{:.1f}"),
        "own-lm": _table([row for row in rows if row["job"] != "captions"], "bits_per_character", "{:.3f}"),
    }


def _table(rows: list[dict[str, Any]], metric: str, form: str) -> str:
    names = list(dict.fromkeys(_short(line) for row in rows for line in row["lines"]))
    lines = []
    for row in rows:
        beside = {_short(line): scores["test"][metric] for line, scores in row["lines"].items()}
        scores = [row["metrics"]["test"][metric], *(beside.get(name) for name in names)]
        said = ["" if score is None else form.format(score) for score in scores]
        lines.append([row["job"], _model(row), f"{row['parameters']['total']:,}", *said, f"{row['wall_seconds']:.0f}"])
    return markup.table(["run", "model", "parameters", "test", *names, "seconds"], lines)


def _model(row: dict[str, Any]) -> str:
    ending = row["run"].removeprefix(row["job"])
    return {"": "LMU", "-lstm": "LSTM", "-on": "LMU, pre-trained"}[ending]


def _short(line: str) -> str:
    """The name of a line without its order: which n-grams validate best depends on the text."""
    return "n-grams of characters" if "grams of characters" in line else line


def draw(records: Path, path: Path) -> Path:
    """The picture of BLEU by the length of what is translated."""
    rows = json.loads((records / "own_language.json").read_text(encoding="utf-8"))["rows"]
    title = {"task": "Multi30k, English to German"}
    reports = {_model(row): row["by_length"] | title for row in rows if row["job"] == "captions"}
    return score_by_length(reports, "bleu", path)


if __name__ == "__main__":
    main()
