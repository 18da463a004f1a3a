"""Train a classifier of sounds on folders of files, on a table of paths, or on made-up tones and chirps.

    lmu-hf train audio                                                 # no download: tones and chirps, a minute
    lmu-hf train audio --train_file words                              # words/yes/1.wav: the folder is the label
    lmu-hf train audio --train_file digits/train --test_file digits/test     # digits/train/7_theo_3.wav: the label is 7
    lmu-hf train audio --train_file digits/train --path_pattern '{label}_{group}_*' --held_out_group theo
    lmu-hf train audio --train_file sounds.csv --path_column file --label_column animal
    lmu-hf train audio --train_file words --baseline lstm              # an LSTM in the same blocks, to compare with

A folder's files are labelled by the folder that they lie in, or, where they lie side by side, by what stands before the
first _ of their name; --path_pattern says otherwise. A table has a column of paths, relative to the table, and one of
labels. Files are WAV, FLAC, OGG or MP3, of any length; those of another sampling rate than most are resampled, and of
several channels the mean is read.

Sounds of your own make the recipe: frames, width, windows and epochs, printed with the reasons, within eight minutes of
one core (--minutes). Beside the result stand the majority and a ridge classifier of each sound's mean spectrum. A tenth
of the training sounds validates if there is no --validation_file, and there is no test without a --test_file or a
--held_out_group: a group, such as a speaker, whose sounds are the test and nothing else.

The model is causal, so that `model.listen(chunks)` classifies a sound while it comes in. A run folder is written
(--output_dir, default runs/RECIPE-seed<k>, or runs/FOLDER-seed<k> for sounds of yours): model/ with its feature
extractor, metrics.jsonl, run.json (only when the run is complete) and figures/.
`pipeline("audio-classification", model="RUN/model")` loads it after `import lmu_hf`.
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
    parser = training_parser(manual_of(__doc__, manual), kind="audio", default="chirps", verb="train audio")
    add_data_flags(parser, "audio", without=("noise_db",))
    parser.set_defaults(noise_db=None)
    args = parse_training(parser, argv, check_sources)
    if "recipe" not in args.given and args.train_file:
        args.recipe = "own-audio"
    return args


def start(args: argparse.Namespace) -> "RunRecord":
    """Train, draw the learning curve, and print the result."""
    from ..loading import load_task
    from ..train import run

    return run(args, load_task, run_name="" if args.held_out_group is None else f"without-{args.held_out_group}")
