"""The flags that say which data a command reads: what each sets, and which kind of data has it.

Nothing is imported here that takes time: `--help` shows these flags, and a wrong one is refused, in a moment.
"""

import argparse
from pathlib import Path
from typing import Any

from ..data.label_rules import PROBLEMS
from ..data.time_rules import LONGEST_GAP
from .flags import AMOUNT, COUNT, POSITIVE, SEED, Flags, ScriptParser, number

SPLITS = ("train", "validation", "test")
# The keys of lmu_hf.data.labelled.GLUE_COLUMNS, which a test compares, and the second test split of one of them.
GLUE_TASKS = ("cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst2", "stsb", "wnli", "mnli-mm")


def _seed_or_none(text: str) -> int | None:
    return None if text.lower() == "none" else SEED(text)


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"must be names joined by commas, none twice, got {text!r}")
    return names


_names.__name__ = "str"  # words, not numbers


def _problem_type(text: str) -> str:
    word = text.removesuffix("_label_classification")
    if word not in PROBLEMS:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(PROBLEMS.values())} (or {', '.join(PROBLEMS)})")
    return PROBLEMS[word]


def _path_pattern(text: str) -> str:
    if text.count("{label}") != 1 or text.count("{group}") > 1:
        raise argparse.ArgumentTypeError("must hold {label} once and {group} at most once, as '{label}_{group}_*'")
    return text


# By which a classifier can be chosen; lmu_hf.training.judging says which of them apply to which labels.
METRICS = (
    *("accuracy", "f1", "macro_f1", "micro_f1", "subset_accuracy", "matthews_correlation"),
    *("r2", "mae", "rmse", "pearson", "spearmanr", "loss"),
)
# How files are read: fields of `ReadOptions`, each a flag of its own.
READING: dict[str, dict[str, Any]] = {
    "delimiter": {"help": "character between two cells of a file, or 'tab' (default: found)"},
    "encoding": {"help": "encoding of text files, as cp1252 (default: a byte order mark's, or UTF-8)"},
    "field": {"help": "key of a JSON file under which the rows are, or sheet of a workbook (default: none)"},
    "column_names": {
        "nargs": "+",
        "metavar": "NAME",
        "help": "names of the columns of a file whose first row is a row (default: the first row's)",
    },
    "drop_incomplete_rows": {
        "action": "store_true",
        "default": None,
        "help": "leave out rows that lack something, and unreadable sounds (default: refused)",
    },
}
# In pairs, per split: the two sides of a translation as two texts.
TEXT_PAIRS = {
    split: (f"{prefix}source_file", f"{prefix}target_file")
    for split, prefix in (("train", ""), ("validation", "validation_"), ("test", "test_"))
}
PAIR_FLAGS: dict[str, dict[str, Any]] = {
    f"{prefix}{side}_file": {
        "type": Path,
        "help": f"text file of {what}{side} sentences, one a line, beside --{prefix}{other}_file (default: none)",
    }
    for prefix, what in (("", "training "), ("validation_", "validation "), ("test_", "test "))
    for side, other in (("source", "target"), ("target", "source"))
}
FLAGS: dict[str, dict[str, Any]] = {
    **READING,
    "task_name": {"choices": GLUE_TASKS, "help": "task of GLUE to train on (default: none)"},
    "dataset_name": {"help": "data set, by its name on the Hub or below --data_dir (default: the recipe's)"},
    "dataset_config_name": {"help": "configuration of the data set (default: its only one)"},
    "train_file": {
        "type": Path,
        "help": "file of training rows, or of text a folder of files, in place of a data set (default: none)",
    },
    "validation_file": {"type": Path, "help": "file of validation rows (default: held out of the training file)"},
    "test_file": {"type": Path, "help": "file of test rows (default: as the manual above says)"},
    "extra_train_file": {
        "type": Path,
        "help": "file of more training rows, as `lmu-hf label` writes them; none is held out (default: none)",
    },
    "text_column": {"help": "column that holds the text (default: text)"},
    "text_pair_column": {"help": "column that holds the second text of a pair (default: none, single texts)"},
    "label_column": {
        "help": "column that holds the label; a,b,c where classes a, b and c have columns of 0 and 1 (default: label)"
    },
    "problem_type": {
        "type": _problem_type,
        "metavar": "{single,multi,regression}",
        "help": "what labels are: one class a row, several, or a number to predict (default: found in the labels)",
    },
    "label_separator": {
        "help": "what parts the classes within a label, which are then several a row (default: a label is one class)"
    },
    "metric_for_best_model": {
        "choices": METRICS,
        "help": "validation score that chooses the weights; f1 is the mean over classes (default: the data's first)",
    },
    "tokens_column": {"help": "column that holds the list of words (default: tokens)"},
    "tags_column": {"help": "column that holds the list of the words' tags (default: ner_tags, or else tags)"},
    "max_length": {
        "type": COUNT,
        "help": "most tokens of a row; the rest is cut (default: the recipe's)",
    },
    "vocab_size": {
        "type": COUNT,
        "help": "size of the vocabulary in tokens, special ones included (default: the recipe's)",
    },
    "train_split": {"help": "split of the data set to train on; several joined by + (default: the recipe's, or train)"},
    "validation_split": {"help": "split of the data set to choose weights by (default: the recipe's, or validation)"},
    "validation_split_percentage": {
        "type": number(float, above=0, below=100),
        "help": "per cent of the training rows, drawn at random, to choose weights by (default: the validation split)",
    },
    "tokenizer_name": {
        "help": "tokenizer, by its name on the Hub or its folder (default: one is trained on the training rows)"
    },
    "model_name_or_path": {
        "help": "pre-trained model to go on from, with its tokenizer: its name on the Hub or its folder (default: none)"
    },
    "from_scratch": {
        "action": "store_true",
        "help": "train a model of the rows alone: do without the pre-trained one that few rows in English start from",
    },
    "word_vectors": {
        "type": Path,
        "help": "file of word vectors that the embeddings start from (default: random embeddings)",
    },
    "freeze_word_vectors": {
        "action": argparse.BooleanOptionalAction,
        "help": "leave the word vectors as they are in training (default: the recipe's)",
    },
    "preprocessing_num_workers": {"type": COUNT, "help": "processes that tokenise the rows (default: this one alone)"},
    "validation_block": {
        "type": COUNT,
        "help": "rows that stand side by side and are held out together for validation (default: the recipe's, or 1)",
    },
    "minutes": {
        "type": POSITIVE,
        "help": "time that the rows' recipe keeps to (default: see above)",
    },
    "source_column": {"help": "column of the sentences to translate from (default: --source_lang's code)"},
    "target_column": {"help": "column of the sentences to translate into (default: --target_lang's code)"},
    **PAIR_FLAGS,
    "rows": {"type": number(int, least=12), "help": "number of made-up rows to draw (default: the recipe's)"},
    "source_lang": {"help": "code of the language to translate from, as en (default: the recipe's)"},
    "target_lang": {"help": "code of the language to translate into, as de (default: the recipe's)"},
    "id_column": {"help": "column of a long table that says which series a row is a step of (default: id)"},
    "value_columns": {
        "nargs": "+",
        "metavar": "NAME",
        "help": "columns of the channels; of a table with one series a row, of the steps (default: all that are left)",
    },
    "path_column": {"help": "column of a table that holds the paths of sounds (default: path)"},
    "group_column": {"help": "column of a table that says what a row belongs to, as its speaker (default: none)"},
    "path_pattern": {
        "type": _path_pattern,
        "metavar": "PATTERN",
        "help": "where the label, and perhaps the group, is in a file's path below its folder, as '{label}/*' or "
        "'{label}_{group}_*' (default: the first for files in folders, else '{label}_*')",
    },
    "held_out_group": {"metavar": "GROUP", "help": "group of training rows that becomes the test (default: none)"},
    "sampling_rate": {
        "type": COUNT,
        "metavar": "HZ",
        "help": "samples a second that all sounds are resampled to (default: the most common rate of the files)",
    },
    "noise_db": {
        "type": number(float, least=-100, most=200),
        "help": "signal-to-noise ratio, in decibels, of white noise that is added to every sound (default: no noise)",
    },
    "horizon": {"type": COUNT, "default": 15, "help": "time steps ahead that are predicted (default: %(default)s)"},
    "time_column": {
        "help": "column of the time of each row; of a forecast, 'none' counts rows as steps (default: the first column "
        "of times; of series to classify none, their rows stand in order)"
    },
    "target_columns": {
        "type": _names,
        "metavar": "A,B",
        "help": "columns to forecast, joined by commas (default: every other column of numbers)",
    },
    "covariate_columns": {
        "type": _names,
        "metavar": "A,B",
        "help": "columns that are known in advance, joined by commas (default: none)",
    },
    "prediction_length": {
        "type": COUNT,
        "help": "time steps that are forecast at once (default: the recipe's, or a season)",
    },
    "context_length": {
        "type": COUNT,
        "help": "time steps that are read (default: chosen on rolling origins of training and validation)",
    },
    "split_steps": {
        "type": COUNT,
        "nargs": 3,
        "metavar": ("TRAIN", "VALIDATION", "TEST"),
        "help": "time steps of each split, from the first one on (default: 70, 10 and 20 of 100)",
    },
    "season": {"type": COUNT, "help": "time steps of a season (default: found from the time step, or the values)"},
    "longest_gap": {
        "type": AMOUNT,
        "help": f"missing steps in a row that a straight line may fill (default: {LONGEST_GAP})",
    },
    "quantiles": {
        "type": number(float, above=0, below=1),
        "nargs": "+",
        "metavar": "Q",
        "help": "levels of quantiles to forecast, 0.5 among them (default: the mean alone)",
    },
    "series_seed": {"type": SEED, "default": 0, "help": "random seed of the made-up series (default: %(default)s)"},
    "permutation_seed": {
        "type": _seed_or_none,
        "default": 0,
        "help": "seed of the fixed pixel order, or 'none' for raster order (default: %(default)s; own pictures: none)",
    },
    "image_size": {
        "type": COUNT,
        "help": "side in pixels that own pictures are resized to (default: their shorter side's median, at most 32)",
    },
    "colour": {
        "action": "store_true",
        "default": None,
        "help": "read three numbers a pixel of own pictures (default: if more than 1 %% of them have colour)",
    },
    "grey": {
        "action": "store_true",
        "default": None,
        "help": "read the mean of a pixel's colours of own pictures (default: if at most 1 %% of them have colour)",
    },
    "no_augmentation": {
        "action": "store_true",
        "default": None,
        "help": "leave own training pictures as they are (default: they are deformed at random in every epoch)",
    },
}
FILES = ("train_file", "validation_file", "test_file")  # in order: the first that is given names the data
SOURCES = ("task_name", "dataset_name", *FILES, *PAIR_FLAGS)  # what says where rows come from
TEXT_FLAGS = (
    *("dataset_name", "dataset_config_name", "text_column", "train_split", "validation_split"),
    *("validation_split_percentage", "preprocessing_num_workers"),
)
# By kind of data, the flags that its plan may ask for.
KIND_FLAGS: dict[str, tuple[str, ...]] = {
    "images": ("dataset_name", "permutation_seed", "image_size", "colour", "grey", "no_augmentation", "minutes"),
    "characters": (*TEXT_FLAGS, *FILES, *READING, "tokenizer_name", "model_name_or_path", "minutes"),
    "pretraining": (*TEXT_FLAGS, *FILES, *READING, "tokenizer_name", "model_name_or_path"),
    "forecast": (
        *("horizon", "series_seed", "train_file", "test_file", "rows"),
        *(flag for flag in READING if flag != "drop_incomplete_rows"),  # a step that is left out would be a gap
        *("time_column", "target_columns", "covariate_columns", "prediction_length", "context_length"),
        *("split_steps", "season", "longest_gap", "quantiles"),
    ),
    "series-classification": (
        *("dataset_name", *FILES, *READING, "id_column", "time_column", "label_column", "value_columns", "rows"),
    ),
    "translation": (
        *("dataset_name", "rows", "source_lang", "target_lang", "source_column", "target_column"),
        *FILES,
        *PAIR_FLAGS,
        *READING,
        *("vocab_size", "max_length", "minutes"),
    ),
    "tagging": (
        *("dataset_name", "dataset_config_name", *FILES, *READING, "tokens_column", "tags_column", "max_length"),
        *("tokenizer_name", "model_name_or_path", "validation_block", "preprocessing_num_workers", "rows"),
    ),
    "audio": (
        *(*FILES, *READING, "path_column", "label_column", "group_column", "path_pattern", "held_out_group"),
        *("sampling_rate", "noise_db", "rows", "minutes"),
    ),
    "classification": (
        *("task_name", "dataset_name", "dataset_config_name", *FILES, *READING, "extra_train_file"),
        *(
            "text_column",
            "text_pair_column",
            "label_column",
            "problem_type",
            "label_separator",
            "metric_for_best_model",
            "max_length",
            "tokenizer_name",
            "model_name_or_path",
            "from_scratch",
            "word_vectors",
        ),
        *("freeze_word_vectors", "validation_block", "preprocessing_num_workers", "rows", "minutes"),
    ),
}
# Flags that name no rows, but what a model begins with.
OF_THE_MODEL = ("tokenizer_name", "model_name_or_path", "from_scratch", "word_vectors", "freeze_word_vectors")


def add_data_flags(parser: ScriptParser, *kinds: str, without: tuple[str, ...] = ()) -> None:
    """Flags that say which data of those kinds is read, each of them once."""
    for flag in dict.fromkeys(flag for kind in kinds for flag in KIND_FLAGS[kind]):
        if flag not in without:
            group = parser.group("model" if flag in OF_THE_MODEL else "data")
            group.add_argument(f"--{flag}", **FLAGS[flag])


def add_row_flags(parser: ScriptParser) -> None:
    """The flags of how running text is cut in training: into rows, and rows into parts."""
    text = "length of a training row in tokens (default: the recipe's)"
    parser.group("data").add_argument("--block_size", type=COUNT, help=text)
    text = "cut every training row into parts, one for each process: for rows longer than a device holds"
    parser.group("training").add_argument("--sequence_parallel", action="store_true", help=text)


def check_sources(args: argparse.Namespace) -> None:
    """One source of rows at most, and no file for validation or test without one to train on.

    Raises:
        ValueError: the flags contradict each other; the message says which.
    """
    check_one_source(args)
    if args.train_file is None and (args.validation_file or args.test_file):
        raise ValueError("--validation_file and --test_file need a --train_file")


def check_tested_text(args: argparse.Namespace) -> None:
    """A test file of running text needs a file to choose weights by, too.

    Raises:
        ValueError: there is none.
    """
    if args.validation_file is None and args.test_file is not None:
        raise ValueError("--test_file needs a --validation_file")


def check_one_source(args: argparse.Namespace | Flags) -> None:
    """Files, a data set, or a task of GLUE.

    Raises:
        ValueError: more than one of them is named.
    """
    files = (*FILES, *PAIR_FLAGS)
    given = [flag for flag in (*files, "dataset_name", "task_name") if getattr(args, flag, None) is not None]
    named = [flag for flag in given if flag not in files or flag == given[0]]  # files are one source
    if len(named) > 1:
        raise ValueError(f"give only one of {' and '.join(f'--{flag}' for flag in named)}")
