"""Train an LMU encoder-decoder to translate: dates and quantities from Babel, Multi30k, or any parallel data set.

    python scripts/train_translation.py                                # no download: dates and quantities, minutes
    python scripts/train_translation.py --recipe multi30k --data_dir data      # from data/multi30k-en-de
    python scripts/train_translation.py --target_lang vi
    python scripts/train_translation.py --recipe multi30k --dataset_name ORG/NAME --source_lang en --target_lang fr
    accelerate launch scripts/train_translation.py --recipe multi30k   # several processes or a GPU

A data set has splits train and validation (and test, if it is to be scored) with a column `translation`, which holds
one sentence per language code. Weights are chosen by greedy BLEU on the validation split; the test split is read once,
at the end, with beams. Writes a run folder (--output_dir, default runs/RECIPE-LANGUAGES-seed<k>): model/,
metrics.jsonl, run.json (only when the run is complete) and figures/. The folder's model/ then translates in
`pipeline("lmu-translation", model=...)`.
"""

import argparse

from lmu_hf.cli.failures import script
from lmu_hf.cli.loading import add_data_flags, load_task
from lmu_hf.cli.train import run
from lmu_hf.cli.training_flags import training_parser
from lmu_hf.common.record import RunRecord
from lmu_hf.training.recipes import get_recipe


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command's flags; those left out keep the recipe's values."""
    parser = training_parser(__doc__, kind="translation", default="dates")
    add_data_flags(parser, "translation")
    return parser.parse_args(argv)


@script
def main(argv: list[str] | None = None) -> RunRecord:
    """Parse flags, train, draw the learning curve, and print the result."""
    args = parse_args(argv)
    languages = {**get_recipe(args.recipe).data, **{flag: said for flag, said in vars(args).items() if said}}
    return run(args, load_task, run_name="{source_lang}-{target_lang}".format(**languages))


if __name__ == "__main__":
    main()
