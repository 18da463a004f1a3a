"""Train a classifier of series of real values, in one channel or several, on files or made-up waves.

    lmu-hf train series                                                # no download: made-up waves, seconds
    lmu-hf train series --train_file steps.csv --id_column walk --time_column second --label_column person
    lmu-hf train series --train_file GunPoint_TRAIN.ts --test_file GunPoint_TEST.ts
    lmu-hf train series --dataset_name GunPoint --data_dir UCR         # the same from UCR/GunPoint/GunPoint_TRAIN.ts
    lmu-hf train series --train_file recordings/                       # a folder of files for each class
    lmu-hf train series --dataset_name GunPoint --data_dir UCR --baseline lstm

A series is a line of a .ts file (UCR and UEA archives), an entry of an .npz file with arrays values (series, steps or
series, steps, channels), labels and perhaps lengths, all rows of a table with one id (--id_column), a row of a table
without such a column, or a file of a folder that is called after its class. Series may be of unequal length. An empty
cell, NaN or ? is a missing value; the model holds the last one that was observed. It standardises channels by itself.

By default the memory has several windows, its readouts are drawn at random and not trained, and a linear classifier on
the share of steps at which each is positive is found in closed form: seconds, and no learning rate. What the rows
decide is printed. `--config_overrides pooling=mean_max` trains the whole model by gradients instead. Beside the result
stand the majority, logistic regression on the values, and a ridge classifier on features of the signal.

A tenth of the training rows validates if there is no --validation_file, and once it has been scored, the readout is
fitted to these rows, too. There is no test without a --test_file; it is read once, at the end.

A run folder is written (--output_dir, default runs/FILE-seed<k> or runs/own-series-NAME-seed<k>): model/, run.json
(only when the run is complete), metrics.jsonl, figures/. `lmu-hf evaluate RUN` scores it on other rows, `lmu-hf label
RUN` labels series that have no labels, and
`lmu_hf.LMUForTimeSeriesClassification.from_pretrained("RUN/model")` loads it.
"""

import argparse
from typing import TYPE_CHECKING

from ..data_flags import add_data_flags, check_sources
from ..flags import manual_of
from ..training_flags import parse_training, training_parser

if TYPE_CHECKING:
    from ...common.record import RunRecord


def parse_args(argv: list[str] | None = None, manual: str | None = None) -> argparse.Namespace:
    """The verb's flags; those left out keep the recipe's values."""
    manual = manual_of(__doc__, manual)
    parser = training_parser(manual, kind="series-classification", default="own-series", verb="train series")
    add_data_flags(parser, "series-classification")
    return parse_training(parser, argv, check_sources)


def start(args: argparse.Namespace) -> "RunRecord":
    """Train, draw the learning curve, and print the result."""
    from ..loading import load_task
    from ..train import run

    return run(args, load_task, run_name=args.dataset_name or "")
