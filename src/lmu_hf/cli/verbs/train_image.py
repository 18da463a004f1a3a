"""Train a classifier of images that are read one pixel at a time: your own pictures, psMNIST, or scikit-learn's digits.

    lmu-hf train image --data_dir pictures                             # pictures/cat/1.jpg, pictures/dog/1.png, ...
    lmu-hf train image --data_dir pictures --image_size 28 --grey --baseline lstm
    lmu-hf train image --recipe digits                                 # no download: 8x8 digits, a few seconds
    lmu-hf train image                                                 # psMNIST from the Hub, the paper's architecture
    lmu-hf train image --data_dir data                                 # the same from data/ylecun/mnist
    lmu-hf train image --recipe smnist-wide --permutation_seed none    # pixels in their own order

A folder of pictures holds a folder for each class, in train/ and perhaps validation/ and test/ if these are there. Else
a tenth of each class validates, and there is no test. Pictures may have any size and are resized to one square, whose
side and colour follow from them and are printed with the rest of the recipe, within five minutes of two cores
(--minutes). Pixels are read row by row; --permutation_seed 0 reads them in a random order. Beside the result stand the
majority and logistic regression on the pixels. `pipeline("image-classification", model="RUN/model")` loads it after
`import lmu_hf`.

A --data_dir that holds ylecun/mnist or the --dataset_name is a folder of data sets, not of pictures.

Weights are chosen by accuracy on the validation split; the test split is read once, at the end. A run folder is written
(--output_dir, default runs/RECIPE-perm<p>-seed<k>, or runs/FOLDER-seed<k> for pictures of yours): model/,
metrics.jsonl, run.json (only when the run is complete) and figures/.
"""

import argparse
from typing import TYPE_CHECKING

from ..data_flags import add_data_flags
from ..flags import manual_of
from ..training_flags import parse_training, training_parser

if TYPE_CHECKING:
    from ...common.record import RunRecord

MNIST = "ylecun/mnist"  # the data set of the default recipe


def parse_args(argv: list[str] | None = None, manual: str | None = None) -> argparse.Namespace:
    """The verb's flags; those left out keep the recipe's values."""
    parser = training_parser(manual_of(__doc__, manual), kind="images", default="psmnist", verb="train image")
    add_data_flags(parser, "images")
    parser.elsewhere["--train_file"] = "--data_dir"
    args = parse_training(parser, argv, _check_colour)
    if "recipe" not in args.given and _is_of_pictures(args):
        args.recipe = "own-images"
    if args.recipe == "own-images":
        args.folder_of_rows = args.data_dir  # after which the run is called
        if "permutation_seed" not in args.given:
            args.permutation_seed = None  # neighbours in a picture stay neighbours
    return args


def _is_of_pictures(args: argparse.Namespace) -> bool:
    """Whether ``--data_dir`` is a folder of pictures and no folder of data sets."""
    return args.data_dir is not None and args.dataset_name is None and not (args.data_dir / MNIST).is_dir()


def _check_colour(args: argparse.Namespace) -> None:
    if args.colour and args.grey:
        raise ValueError("give only one of --colour and --grey")


def start(args: argparse.Namespace) -> "RunRecord":
    """Train, draw the learning curve, and print the result."""
    from ..loading import load_task
    from ..train import run

    order = "raster" if args.permutation_seed is None else f"perm{args.permutation_seed}"
    return run(args, load_task, run_name=order)
