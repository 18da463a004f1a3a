"""Compute how well a memory holds a window: the figure and the table of docs/concepts/theta_and_order.md.

python report/figure_theta_and_order.py             # writes the page's table and its figure beside it
python report/figure_theta_and_order.py --check     # computes, and says whether the page still tells the same
"""

import argparse
from pathlib import Path

from choosing import order_table, theta_and_order
from lmu_hf.cli.failures import script
from lmu_hf.cli.flags import ScriptParser
from table import markers, write_into

CONCEPTS = Path(__file__).parents[1] / "docs" / "concepts"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command's flags."""
    parser = ScriptParser(__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page's table is another")
    return parser.parse_args(argv)


@script
def main(argv: list[str] | None = None) -> None:
    """Compute, then write or compare."""
    args = parse_args(argv)
    page, table = CONCEPTS / "theta_and_order.md", order_table()
    if not args.check:
        write_into(page, {"orders": table}, script=Path(__file__).name)
        print(theta_and_order(CONCEPTS / "theta_and_order.png"))
        return
    begin, end = markers("orders", Path(__file__).name)
    if page.read_text(encoding="utf-8").split(begin)[1].split(end)[0].strip() != table:
        raise SystemExit(f"{page} tells other numbers than are computed: run this script without --check")
    print("the page tells what is computed")


if __name__ == "__main__":
    main()
