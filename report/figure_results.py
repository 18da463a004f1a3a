"""Draw the pictures of docs/results/pictures.md from the run records.

python report/figure_results.py     # writes bits_against_text, accuracy_against_parameters, bleu_by_length
"""

import argparse
from pathlib import Path

import own_language
from comparing import accuracy_against_parameters, bits_against_text
from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import ScriptParser

PROJECT = Path(__file__).parents[1]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command's flags."""
    parser = ScriptParser(__doc__)
    parser.add_argument(
        "--records",
        type=Path,
        default=PROJECT / "records",
        help="folder of run folders to draw from (default: %(default)s)",
    )
    parser.add_argument(
        "--output_dir",
        type=Path,
        default=PROJECT / "docs" / "results",
        help="folder to write the pictures to (default: %(default)s)",
    )
    return parser.parse_args(argv)


@script
def main(argv: list[str] | None = None) -> None:
    """Draw all three."""
    args = parse_args(argv)
    print(bits_against_text(args.records, args.output_dir / "bits_against_text.png"))
    print(accuracy_against_parameters(args.records, args.output_dir / "accuracy_against_parameters.png"))
    print(own_language.draw(args.records, args.output_dir / "bleu_by_length.png"))


if __name__ == "__main__":
    main()
