"""Convert the run records of records/ to today's names and fields; a second run changes nothing.

python report/convert_records.py

- A recipe that has a new name: the run's folder, its record and the command in it take the new name.
- A run of an LSTM baseline: its command names the recipe and ``--baseline lstm``.
- A run from before the average of weights started short (commit 12a1d07): its record gets the remark
  "constant-averaging", which the tables and the cards spell out. The project's history is asked, so it must be there.
- A record from before records said what they are: it gets its head, task, problem type, baseline, data set and an
  example. Readers guessed them from names; here they are guessed for the last time, and written down.
"""

import argparse
import json
import re
import subprocess
from pathlib import Path
from typing import Any

from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import ScriptParser
from lmu_hf.common.staging import write_text
from lmu_hf.training.recipes import get_recipe

RECIPES = {
    # Named after the option that they show.
    "qqp-aligned-wide": "qqp-alignment",
    "qqp-aligned-wide-lstm": "qqp-alignment-lstm",
    "snli-aligned-wide": "snli-alignment",
    "snli-aligned-wide-lstm": "snli-alignment-lstm",
    # The field's own words.
    "imdb-tuned": "imdb-fine-tuned",
    "qqp-spelt": "qqp-subword",
    "qqp-spelt-lstm": "qqp-subword-lstm",
    # Two plain LSTM layers are the baseline of the recipes with several windows.
    "ptb-char-lstm-plain": "ptb-char-windows-lstm",
    "text8-lstm-plain-steep": "text8-windows-lstm",
}
SHORT_AVERAGES = "12a1d07"  # the commit since which an average spans at most the steps that there have been
CONSTANT_AVERAGING = "constant-averaging"
PROJECT = Path(__file__).parents[1]

# By the metric: the Hub's word for the task, how the class of the head ends, and the problem type.
TASKS = {
    "bleu": ("translation", "ForConditionalGeneration", None),
    "nrmse": ("time-series-forecasting", "ForTimeSeriesPrediction", "regression"),
    "bits_per_character": ("text-generation", "ForCausalLM", None),
    "perplexity": ("text-generation", "ForCausalLM", None),
}
# By what a record calls its data: the data set on the Hub and its configuration.
DATASETS = {
    "ylecun/mnist": ("ylecun/mnist", None),
    "stanfordnlp/imdb": ("stanfordnlp/imdb", None),
    "stanfordnlp/snli": ("stanfordnlp/snli", None),
    "multi30k-en-de": ("bentrevett/multi30k", None),
    **{f"nyu-mll/glue {task}": ("nyu-mll/glue", task) for task in ("sst2", "mrpc", "rte", "qqp")},
}
EXAMPLES = {"the Python standard library": "def read(self, size"}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command's flags."""
    parser = ScriptParser(__doc__)
    text = "folder of the run folders to convert in place (default: %(default)s)"
    parser.add_argument("--records", type=Path, default=PROJECT / "records", help=text)
    return parser.parse_args(argv)


@script
def main(argv: list[str] | None = None) -> None:
    """Convert each run folder."""
    for path in sorted(parse_args(argv).records.glob("*/run.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        converted = add_remarks(rename(say_what_it_is(record)))
        if converted != record:
            write_text(path, json.dumps(converted, indent=2) + "\n")
            print(f"converted {path}")
        folder = path.parent
        if converted["recipe"] != record["recipe"]:
            folder.rename(folder.with_name(folder.name.replace(record["recipe"], converted["recipe"], 1)))


def rename(record: dict) -> dict:
    """A record under its recipe's new name, and the command that trains it today."""
    old = record["recipe"]
    flags = new = RECIPES.get(old, old)
    if new.endswith("-lstm"):
        of = new.removesuffix("-lstm")
        flags = " ".join([of, "--baseline lstm", *filter(None, [get_recipe(of).reproduction.lstm])])
    command = re.sub(rf"(?<=--recipe ){re.escape(old)}(?= |$)", flags, record["command"])
    return record | {"recipe": new, "command": command}


def add_remarks(record: dict) -> dict:
    """A record that says so if its weights were averaged by the earlier rule."""
    if not record["hyperparameters"].get("averaging") or is_ancestor(SHORT_AVERAGES, record["commit"].rstrip("+")):
        return record
    return record | {"remarks": sorted({*record.get("remarks", []), CONSTANT_AVERAGING})}


def is_ancestor(commit: str, of: str) -> bool:
    """Whether a commit is in another's history.

    Raises:
        CalledProcessError: git does not know one of the two.
    """
    for name in (commit, of):
        subprocess.run(["git", "cat-file", "-e", f"{name}^{{commit}}"], check=True)
    return subprocess.run(["git", "merge-base", "--is-ancestor", commit, of], check=False).returncode == 0


def fields_of_kind(record: dict[str, Any]) -> dict[str, Any]:
    """A record's fields that say what it is.

    Until this was written, a baseline was known by the end of its recipe's name.
    """
    lstm = "model_type" in record["architecture"]
    metric = record.get("metric", "accuracy")
    if metric in TASKS:
        task, head, problem = TASKS[metric]
    elif "image_size" in record["architecture"]:
        task, head, problem = "image-classification", "ForImageClassification", "single_label_classification"
    else:
        pair = "Pair" if record["data"]["pairs"] else ""
        task, head = "text-classification", f"ForSequence{pair}Classification"
        problem = "regression" if record["data"]["labels"] is None else "single_label_classification"
    return {
        "task": task,
        "head": f"{'LSTM' if lstm else 'LMU'}{head}",
        "problem_type": problem,
        "baseline": "lstm" if lstm else None,
        "baseline_of": record["recipe"].removesuffix("-lstm") if lstm else None,
    }


def say_what_it_is(record: dict[str, Any]) -> dict[str, Any]:
    """A record as it would be written today; one that says what it is stays as it is."""
    if "head" in record:
        return record
    name = record["data"]["name"]
    dataset, config = DATASETS.get(name, (None, None))
    told = {"dataset": dataset, "dataset_config": config, "example": EXAMPLES.get(name)}
    data = record["data"] | {key: value for key, value in told.items() if value is not None}
    own = fields_of_kind(record)
    first = {"recipe": record["recipe"], "task": own["task"], "head": own["head"], "data": data}
    return first | {key: value for key, value in record.items() if key not in first} | own


if __name__ == "__main__":
    main()
