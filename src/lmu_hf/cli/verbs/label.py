"""Label texts, pictures, sounds or series with a trained model, as a file that another can learn from.

    lmu-hf label runs/opinions-seed0 --train_file reviews.csv --output_file labels.csv
    lmu-hf label ORG/lmu-snli --train_file pairs.jsonl --text_column premise --text_pair_column hypothesis
    lmu-hf label runs/imdb-small-en-seed0 --dataset_name stanfordnlp/imdb --split unsupervised
    lmu-hf label runs/pictures-seed0 --data_dir more-pictures --output_file labels.csv
    lmu-hf label runs/voices-seed0 --data_dir new-recordings                    # sounds, by a model of sounds
    lmu-hf label runs/walks-seed0 --train_file new.csv --id_column walk         # series, by a model of series
    lmu-hf train text --train_file reviews.csv --extra_train_file labels.csv    # what they are for

Written are the texts, or the paths of pictures or sounds, the class of each, how probable the model holds it to be and
a score for every class (--output_file, default labels.parquet), and beside it a .json with what was done, where, and
how many texts each class has. Of several classes a text, label lists those that hold, in a CSV file as one|other
(--label_separator '|' reads them); of a number to predict, label and score are that number. In .csv and .jsonl numbers
have four significant digits, and more where two would otherwise be taken for one.
"""

import argparse
from pathlib import Path

from ..data_flags import FLAGS, READING
from ..flags import COUNT, ScriptParser, manual_of
from ..results import add_json

OF_SERIES = ("id_column", "time_column", "label_column", "value_columns")
SUFFIXES = (".parquet", ".csv", ".jsonl")


def parse_args(argv: list[str] | None = None, manual: str | None = None) -> argparse.Namespace:
    """The verb's flags."""
    parser = ScriptParser(manual_of(__doc__, manual), "label")
    parser.add_argument("model", help="a run folder, a saved classifier's folder, its name on the Hub or in the box")
    data = parser.group("data")
    source = data.add_mutually_exclusive_group()
    source.add_argument("--train_file", type=Path, help="file of rows to label (default: none, a data set)")
    source.add_argument("--dataset_name", help="data set, by its name on the Hub or below --data_dir (default: none)")
    for flag in ("dataset_config_name", "text_column", "text_pair_column", *READING, *OF_SERIES):
        data.add_argument(f"--{flag}", **FLAGS[flag])
    parser.group("data").add_argument(
        "--data_dir",
        type=Path,
        help="folder of data sets as on the Hub, or of pictures or sounds (default: the Hub)",
    )
    text = "split of the data set to label (default: %(default)s)"
    data.add_argument("--split", default="unsupervised", help=text)
    parser.group("model").add_argument(
        "--per_device_eval_batch_size",
        type=COUNT,
        default=128,
        help="rows in a batch, for each process (default: %(default)s)",
    )
    parser.group("model").add_argument(
        "--mixed_precision",
        choices=("no", "bf16"),
        help="precision of products; the memory stays float32 (default: accelerate's)",
    )
    text = f"file to write, which ends in {', '.join(SUFFIXES)} (default: %(default)s)"
    parser.group("output").add_argument("--output_file", type=Path, default=Path("labels.parquet"), help=text)
    add_json(parser)
    args = parser.parse_args(argv)
    if args.dataset_name is None and args.train_file is None:
        if args.data_dir is None:
            parser.error("--dataset_name or --train_file says what to read, or --data_dir of pictures or sounds")
        columns = ("text_column", "text_pair_column", "dataset_config_name", "split", *READING)
        parser.refuse(args, *columns, because="all files of a --data_dir are read")
    elif args.train_file is not None:
        parser.refuse(args, "data_dir", "dataset_config_name", "split", because="a --train_file is read as it is")
    else:
        parser.refuse(args, *READING, *OF_SERIES, because="only a --train_file is read by them")
    if args.output_file.suffix not in SUFFIXES:
        parser.error(f"--output_file must end in {', '.join(SUFFIXES)}, got {args.output_file}")
    return args


def start(args: argparse.Namespace) -> dict[str, int]:
    """Read, label and write; how many texts each class has."""
    from ..labelling import label

    return label(args)
