"""Render the table of results from the run records, or write it into a page.

python scripts/results_table.py                     # print it
python scripts/results_table.py --write README.md   # put it between the page's markers
"""

import argparse
from pathlib import Path

from lmu_hf.publishing.table import read_records, results_table, write_into


def main(argv: list[str] | None = None) -> None:
    """Read the records, render, print or write."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter, allow_abbrev=False)
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), help="the folder of run folders (default: %(default)s)"
    )
    parser.add_argument("--write", type=Path, metavar="PAGE", help="a page with markers to write the table between")
    args = parser.parse_args(argv)
    table = results_table(read_records(args.runs))
    if args.write is None:
        print(table)
    else:
        write_into(args.write, table)


if __name__ == "__main__":
    main()
