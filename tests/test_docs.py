"""The docs are true: their Python runs, their numbers are computed again, and what they link to is there."""

import re
from pathlib import Path

import pytest

from choosing import CYCLES, ORDERS, decoding_errors, impulse_left, order_needed, order_table
from table import markers

PROJECT = Path(__file__).parent.parent
DOCS = PROJECT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *PROJECT.glob("*.md"), *PROJECT.glob("model_cards/*.md")])
CHOOSING = (DOCS / "concepts" / "theta_and_order.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", CHOOSING, re.DOTALL))
def test_the_python_of_the_theta_page_runs(block, capsys):
    exec(compile(block, "theta_and_order.md", "exec"), {})
    errors = [float(found) for found in re.findall(r"error ([\d.]+)%", capsys.readouterr().out)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 30


def test_the_table_of_the_theta_page_is_what_is_computed():
    begin, end = markers("orders", "figure_theta_and_order.py")
    assert CHOOSING.split(begin)[1].split(end)[0].strip() == order_table()
    assert "report/figure_theta_and_order.py" in CHOOSING


def test_the_rule_of_the_theta_page_holds():
    for cycles in CYCLES:
        assert abs(order_needed(cycles, loss=0.1) - (3.1416 * cycles + 4)) <= 3
    for theta in (50, 5000):  # "whether θ is 50 or 5,000"
        for cycles, needed in ((1, 6), (2, 9)):
            assert decoding_errors(needed, theta)[cycles] < 0.1 < decoding_errors(needed - 1, theta)[cycles]
    assert order_needed(CYCLES[-1], loss=1e-9) is None
    assert decoding_errors(ORDERS[0])[CYCLES[-1]] > 0.99


def test_little_of_an_impulse_is_left_beyond_the_window():
    for order in (16, 64):
        left = impulse_left(order, steps=512, theta=256)
        assert left[100:200].min() > 0.85
        assert left[300:].max() < 0.1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_exist(page):
    text = page.read_text(encoding="utf-8")
    check_links(text, page)


def check_links(text: str, page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        if page.parent.name == "model_cards" and path.startswith("figures/"):
            continue  # a push lays the figures beside the card
        assert there.exists(), f"{page.name} links to {target}"
        if anchor and there.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{page.name} links to {target}"
