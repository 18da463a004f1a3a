"""Forecast what comes behind the last row of a table, with a trained forecaster, and write it as a table.

    lmu-hf forecast runs/power-seed0                                   # behind the table that it was trained on
    lmu-hf forecast runs/power-seed0 --test_file later.csv --steps 48 --output_file tomorrow.csv
    lmu-hf forecast runs/shop-seed0 --test_file shop.xlsx --figure forecast.png

Written is a row for each step behind the last one that holds a value, with its time in the table's own form, a column
for each series and, where the model has quantiles, one for each of their levels (--output_file, default forecast.csv;
.parquet and .jsonl, too). Behind the model's horizon (--prediction_length in training) it reads its own forecasts, and
quantiles are left empty.

Rows at the end whose series are all empty are steps to come. Where a model has covariates, these rows must hold them.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..data_flags import FLAGS, READING
from ..flags import COUNT, ScriptParser, manual_of, output_file
from ..results import add_json

if TYPE_CHECKING:
    from ..forecasting import Ahead

OF_A_TABLE = ("delimiter", "encoding", "field", "column_names", "time_column", "target_columns", "covariate_columns")
SUFFIXES = (".csv", ".parquet", ".jsonl")


def parse_args(argv: list[str] | None = None, manual: str | None = None) -> argparse.Namespace:
    """The verb's flags."""
    parser = ScriptParser(manual_of(__doc__, manual), "forecast")
    parser.add_argument("model", help="a run folder, a saved forecaster's folder, its name on the Hub or in the box")
    data, output = parser.group("data"), parser.group("output")
    data.add_argument("--test_file", type=Path, help="table to go on from (default: that of the run)")
    parser.set_defaults(train_file=None)
    for flag in (*OF_A_TABLE, "longest_gap"):
        data.add_argument(f"--{flag}", **{**READING, **FLAGS}[flag])
    parser.add_argument("--steps", type=COUNT, help="time steps to forecast (default: the model's horizon)")
    text = f"file to write, which ends in {', '.join(SUFFIXES)} (default: %(default)s)"
    output.add_argument("--output_file", type=Path, default=Path("forecast.csv"), help=text)
    output.add_argument("--figure", type=output_file, help="PNG file to draw to (default: no picture)")
    add_json(parser)
    args = parser.parse_args(argv)
    if args.output_file.suffix not in SUFFIXES:
        parser.error(f"--output_file must end in {', '.join(SUFFIXES)}, got {args.output_file}")
    if args.figure is not None and args.figure.suffix.lower() != ".png":
        parser.error(f"--figure must end in .png, got {args.figure}")
    return args


def start(args: argparse.Namespace) -> "Ahead":
    """Read, forecast, write and draw; what is to come."""
    from ..forecasting import forecast

    return forecast(args)
