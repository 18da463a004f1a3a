"""Let a trained model label texts that have none, as a file of rows that another can learn from.

    python scripts/label.py runs/imdb-student-seed0/model --dataset_name stanfordnlp/imdb --split unsupervised
    python scripts/label.py runs/opinions-seed0/model --train_file reviews.csv --output_file labels.parquet
    python scripts/label.py ORG/lmu-snli --train_file pairs.jsonl --text_column premise --text_pair_column hypothesis
    python scripts/train_glue.py --recipe imdb-student --extra_train_file labels.parquet ...     # what they are for

Writes the texts, the class of each, how probable the model holds it to be and a score for every class (--output_file,
default labels.parquet), and beside it a .json with what was done, where, and how many texts each class has. Of several
classes a text, label lists those that hold; of a number to predict, label and score are that number.
"""

import argparse
from pathlib import Path

from accelerate import PartialState
from transformers import AutoModelForSequenceClassification

from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import COUNT, ScriptParser
from lmu_hf.cli.loading import FLAGS
from lmu_hf.common.errors import check_folder, loading
from lmu_hf.common.record import publish
from lmu_hf.common.staging import written_whole
from lmu_hf.data.labelled import unlabelled_dataset, unlabelled_file
from lmu_hf.data.labelling import count_labels, label_rows
from lmu_hf.data.labels import Columns
from lmu_hf.data.tokenised import load_tokenizer


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command's flags."""
    parser = ScriptParser(__doc__)
    parser.add_argument("model", help="a saved classifier's folder, or its name on the Hub")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--dataset_name", **FLAGS["dataset_name"])
    source.add_argument("--train_file", **FLAGS["train_file"])
    for flag in ("dataset_config_name", "text_column", "text_pair_column"):
        parser.add_argument(f"--{flag}", **FLAGS[flag])
    parser.add_argument("--data_dir", type=Path, help="folder of data sets laid out as on the Hub (default: the Hub)")
    parser.add_argument("--split", default="unsupervised", help="split of the data set to label (default: %(default)s)")
    parser.add_argument(
        "--per_device_eval_batch_size",
        type=COUNT,
        default=128,
        help="rows in a batch, for each process (default: %(default)s)",
    )
    parser.add_argument(
        "--mixed_precision",
        choices=("no", "bf16"),
        help="precision of products; the memory stays float32 (default: accelerate's)",
    )
    parser.add_argument(
        "--output_file", type=Path, default=Path("labels.parquet"), help="parquet file to write (default: %(default)s)"
    )
    args = parser.parse_args(argv)
    if args.dataset_name is None and args.train_file is None:
        parser.error("one of --dataset_name and --train_file says what to read")
    if args.train_file is not None:
        parser.refuse(args, "data_dir", "dataset_config_name", "split", because="a --train_file is read as it is")
    if args.output_file.suffix != ".parquet":
        parser.error(f"--output_file must end in .parquet, got {args.output_file}")
    return args


@script
def main(argv: list[str] | None = None) -> dict[str, int]:
    """Read, label and write; how many texts each class has."""
    args = parse_args(argv)
    columns = Columns(args.text_column or "text", args.text_pair_column)
    check_folder(args.output_file.parent, "output_file")
    if args.train_file is not None:
        rows = unlabelled_file(args.train_file, columns)
    else:
        rows = unlabelled_dataset(args.dataset_name, args.split, args.data_dir, columns, args.dataset_config_name)
    tokenizer = load_tokenizer(args.model)
    with loading("model", args.model):
        model = AutoModelForSequenceClassification.from_pretrained(args.model)
    labelled = label_rows(model, tokenizer, rows, args.per_device_eval_batch_size, args.mixed_precision)
    counts = count_labels(labelled)
    if PartialState().is_main_process:
        args.output_file.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(args.output_file) as staged:
            labelled.to_parquet(staged)
        told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        print(f"{args.output_file}: {len(labelled):,} texts; {told}".removesuffix("; "))
        made = {"model": args.model, "mixed_precision": args.mixed_precision, "labels": counts}
        publish(made, args.output_file.with_suffix(".json"))
    return counts


if __name__ == "__main__":
    main()
