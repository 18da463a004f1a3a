"""Render the tables of the README, docs/ from records/, or write them there.

python report/results_table.py            # print them
python report/results_table.py --write    # put them between their pages' markers
"""

from pathlib import Path

from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import ScriptParser
from pages import render_pages
from table import write_into

PROJECT = Path(__file__).parent.parent


@script
def main(argv: list[str] | None = None) -> None:
    """Read the records, render, print or write."""
    parser = ScriptParser(__doc__)
    parser.add_argument(
        "--records", type=Path, default=PROJECT / "records", help="folder of run folders to read (default: %(default)s)"
    )
    parser.add_argument("--write", action="store_true", help="write them into the project's pages")
    args = parser.parse_args(argv)
    for page, tables in render_pages(PROJECT, args.records).items():
        if args.write:
            write_into(page, tables)
        else:
            print("\n\n".join(tables.values()), end="\n\n")


if __name__ == "__main__":
    main()
