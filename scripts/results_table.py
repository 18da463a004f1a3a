"""Render the README's tables from the run records and the benchmark, or write them into a page.

python scripts/results_table.py                     # print them
python scripts/results_table.py --write README.md   # put them between its markers
"""

import argparse
from pathlib import Path

from lmu_hf.publishing.table import render, write_into


def main(argv: list[str] | None = None) -> None:
    """Read the records, render, print or write."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter, allow_abbrev=False)
    parser.add_argument(
        "--records", type=Path, default=Path("records"), help="a folder of run folders (default: %(default)s)"
    )
    parser.add_argument("--write", type=Path, metavar="PAGE", help="a page with markers to write the table between")
    args = parser.parse_args(argv)
    tables = render(args.records)
    if args.write is None:
        print("\n\n".join(tables.values()))
    else:
        write_into(args.write, tables)


if __name__ == "__main__":
    main()
