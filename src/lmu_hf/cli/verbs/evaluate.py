"""Score a saved model: on its run's own test split, on another split, or on other rows.

    lmu-hf evaluate runs/opinions-seed0/model               # the data of its own run folder, its test split
    lmu-hf evaluate runs/opinions-seed0/model --test_file more.csv     # its classes, in another file
    lmu-hf evaluate runs/sst2-seed0/model --data_dir data --split validation
    lmu-hf evaluate ORG/lmu-imdb --recipe imdb              # a model on the Hub, the data of a recipe
    lmu-hf evaluate runs/multi30k-en-de-seed0/model --data_dir data --by_length 5

A model in a run folder is scored on the rows that the run read, and refused if they have changed. Other rows are named
by the flags of training; the classes are always the model's, by their names. --json prints the scores as one line of
JSON, with what was scored on what and with which versions; --output keeps that in a file.
"""

import argparse
from pathlib import Path

from ..data_flags import KIND_FLAGS, PAIR_FLAGS, SPLITS, add_data_flags
from ..flags import COUNT, ScriptParser, manual_of, output_file
from ..results import add_json
from ..training_flags import SELDOM, recipe_of

OF_TRAINING = {
    "model_name_or_path": None,
    "from_scratch": False,
    "word_vectors": None,
    "freeze_word_vectors": False,
    "extra_train_file": None,
    "metric_for_best_model": None,
    "minutes": None,
    "vocab_size": None,
    "no_augmentation": None,
}

# What the run's record says of its signals, so that it need seldom be said again.
OF_SIGNALS = (
    *("path_column", "group_column", "path_pattern", "held_out_group", "sampling_rate", "id_column", "value_columns"),
    *("time_column", "target_columns", "covariate_columns", "prediction_length", "context_length", "split_steps"),
    *("season", "longest_gap", "quantiles", "image_size", "colour", "grey"),
)


def parse_args(argv: list[str] | None = None, manual: str | None = None) -> argparse.Namespace:
    """The verb's flags."""
    parser = ScriptParser(manual_of(__doc__, manual), "evaluate")
    parser.add_argument("model", help="a run folder, a saved model's folder, its name on the Hub or in the box")
    data, output = parser.group("data"), parser.group("output")
    text = "recipe that names the data (default: that of the model's run folder)"
    data.add_argument("--recipe", type=recipe_of(None), help=text)
    data.add_argument("--split", choices=SPLITS, default="test", help="split to score on (default: %(default)s)")
    parser.group("data").add_argument(
        "--data_dir", type=Path, help="folder of data sets laid out as on the Hub (default: the run's, or the Hub)"
    )
    data.add_argument(
        "--per_device_eval_batch_size", type=COUNT, help="rows in a batch, for each process (default: the task's)"
    )
    text = "also score texts by their length, in so many groups of about as many rows (default: not)"
    output.add_argument("--by_length", type=COUNT, metavar="GROUPS", help=text)
    output.add_argument("--output", type=output_file, help="file to write the result to, as JSON (default: none)")
    add_json(parser)
    add_data_flags(parser, *KIND_FLAGS, without=tuple(OF_TRAINING))
    parser.set_defaults(**OF_TRAINING)
    parser.set_seldom(*SELDOM, *PAIR_FLAGS, *OF_SIGNALS)
    return parser.parse_args(argv)


def start(args: argparse.Namespace) -> dict[str, float]:
    """Load the data and the model, score, and print; the scores."""
    from ..scoring import score

    return score(args)
