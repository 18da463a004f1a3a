"""Say in run records of before what newer ones say themselves: head, task, problem type, baseline, data set, example.

python report/convert_kinds.py           # records/; a second run changes nothing

Records from before had none of these fields: readers guessed them from a recipe's or a data set's name. The guesses are
made here, for the last time, and written down.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import ScriptParser

PROJECT = Path(__file__).parents[1]

# By the metric: the Hub's word for the task, how the class of the head ends, and the problem type.
TASKS = {
    "bleu": ("translation", "ForConditionalGeneration", None),
    "nrmse": ("time-series-forecasting", "ForTimeSeriesPrediction", "regression"),
    "bits_per_character": ("text-generation", "ForCausalLM", None),
    "perplexity": ("text-generation", "ForCausalLM", None),
}
# Baselines: the recipe of each, and the recipe that it is compared with.
BASELINE_OF = {
    "imdb-lstm": "imdb",
    "sst2-lstm": "sst2",
    "mrpc-lstm": "mrpc",
    "rte-lstm": "rte",
    "qqp-lstm": "qqp",
    "qqp-spelt-lstm": "qqp-spelt",
    "qqp-lstm-narrow": "qqp-aligned",
    "qqp-aligned-wide-lstm": "qqp-aligned-wide",
    "snli-lstm": "snli",
    "snli-spelt-lstm": "snli-spelt",
    "snli-lstm-narrow": "snli-aligned",
    "snli-aligned-wide-lstm": "snli-aligned-wide",
    "mackey-glass-lstm": "mackey-glass",
    "multi30k-lstm": "multi30k",
    "multi30k-lstm-plain": "multi30k",
    "evbnews-lstm": "evbnews",
    "ptb-char-lstm": "ptb-char",
    "ptb-char-lstm-plain": "ptb-char",
    "text8-lstm": "text8",
    "text8-lstm-plain": "text8",
    "text8-lstm-plain-steep": "text8",
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


def main_fields(record: dict[str, Any]) -> dict[str, Any]:
    """A record's fields that say what it is.

    Raises:
        KeyError: it is of a baseline that is not known here.
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
        "baseline_of": BASELINE_OF[record["recipe"]] if lstm else None,
    }


def convert(record: dict[str, Any]) -> dict[str, Any]:
    """A record as it would be written today; one that says what it is stays as it is."""
    if "head" in record:
        return record
    name = record["data"]["name"]
    dataset, config = DATASETS.get(name, (None, None))
    told = {"dataset": dataset, "dataset_config": config, "example": EXAMPLES.get(name)}
    data = record["data"] | {key: value for key, value in told.items() if value is not None}
    own = main_fields(record)
    first = {"recipe": record["recipe"], "task": own["task"], "head": own["head"], "data": data}
    return first | {key: value for key, value in record.items() if key not in first} | own


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command's flags."""
    parser = ScriptParser(__doc__)
    text = "the folder of run folders whose run.json are converted in place (default: %(default)s)"
    parser.add_argument("--records", type=Path, default=PROJECT / "records", help=text)
    return parser.parse_args(argv)


@script
def main(argv: list[str] | None = None) -> int:
    """Convert every record that needs it; how many did."""
    changed = 0
    for path in sorted(parse_args(argv).records.glob("*/run.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if (converted := convert(record)) != record:
            path.write_text(json.dumps(converted, indent=2) + "\n", encoding="utf-8")
            changed += 1
    print(f"{changed} records were converted")
    return changed


if __name__ == "__main__":
    main()
