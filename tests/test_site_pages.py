"""What the documentation site takes from the code: flags, fields, classes and docstrings, and links that fit it."""

from pathlib import Path

import pytest

import site_fields
import site_flags
import site_modules
from lmu_hf import LMUConfig
from lmu_hf.cli.command import VERBS
from site_docstrings import as_markdown
from site_hooks import PLACE, moved_to_docs, notebook_page, on_page_content, on_page_markdown

DOCS = Path(__file__).parents[1] / "docs"


class Written:
    """As much of a page as the hooks look at."""

    def __init__(self, place: str) -> None:
        self.file = self
        self.src_uri = place


def test_every_flag_of_a_verb_stands_on_its_page():
    pages = site_flags.pages()
    for verb, known in VERBS.items():
        page = pages[f"reference/flags/{known.module}.md"]
        assert page.startswith(f"# lmu-hf {verb}\n")
        for action in site_flags.verb_parser(verb)._actions:
            if action.dest not in ("help", "help_all"):
                assert f"`{(action.option_strings or [action.dest])[0]}`" in page
    assert "| `--seed` | `N` | random seed" in pages["reference/flags/train_text.md"]
    assert (
        "| `--split` | `train`, `validation`, `test` | split to score on | test |"
        in pages["reference/flags/evaluate.md"]
    )


def test_every_field_of_the_config_stands_in_one_group(monkeypatch):
    page = site_fields.fields_in_groups()
    assert page.count("| `theta` |") == 1 and "| `num_hidden_layers` | `int` | `4` | number of blocks |" in page
    assert "## Entries of `ngrams`" in page and "| `sizes` | `list[int]` | needed |" in page
    monkeypatch.setitem(site_fields.GROUPS, "Blocks", ("block_type",))
    with pytest.raises(ValueError, match=r"must name each field of LMUConfig once: .*hidden_size"):
        site_fields.fields_in_groups()


def test_an_argument_of_a_docstring_is_read_with_its_type():
    assert site_fields.arguments(LMUConfig)["order"] == ("`int`", "number of Legendre coefficients d")
    told = site_fields.arguments(LMUConfig)
    assert told["hidden_dropout"] == told["classifier_dropout"]


def test_every_name_that_the_package_offers_is_shown(monkeypatch):
    assert "::: lmu_hf.modeling_lmu.LMUForCausalLM" in site_modules.classes()
    monkeypatch.setitem(site_modules.CLASSES, "Models", ())
    with pytest.raises(ValueError, match=r"must name once what lmu_hf offers: .*LMUModel"):
        site_modules.classes()


def test_every_module_has_a_page():
    pages = site_modules.pages()
    assert {"reference/modules/lmu_hf.memory.md", "reference/modules/lmu_hf.data.tables.md"} <= set(pages)
    assert "[`lmu_hf.memory`](modules/lmu_hf.memory.md)" in site_modules.list_of_pages()


def test_docstrings_become_markdown():
    assert as_markdown("see :class:`~lmu_hf.layers.LMULayer` and ``x``::") == "see `lmu_hf.layers.LMULayer` and `x`:"
    table = "===  ===\na    b\n===  ===\n1    2\n===  ==="
    assert as_markdown(f"before\n\n{table}\n\nafter") == f"before\n\n```text\n{table}\n```\n\nafter"


@pytest.mark.parametrize(
    "written, shown",
    [
        ("[text](../results/text.md#imdb)", "[text](../results/text.md#imdb)"),
        ("[elsewhere](https://huggingface.co/docs)", "[elsewhere](https://huggingface.co/docs)"),
        ("[the README](../../README.md)", "[the README](../index.md)"),
        ("[rules](../../CONTRIBUTING.md#rules)", "[rules](../contributing.md#rules)"),
        ("[a start](../notebooks/quick_start.ipynb)", "[a start](../notebooks/quick_start.md)"),
        ("[records/](../../records)", "records/"),
        ("[gone](../../gone)", "[gone](../../gone)"),
        ("```python\nshapes[0](../../records)\n```\n", "```python\nshapes[0](../../records)\n```\n"),
    ],
)
def test_a_link_out_of_the_docs_fits_the_site(written, shown):
    assert on_page_markdown(written, Written("guides/text.md")) == shown


def test_marked_places_are_filled():
    text = (DOCS / "reference" / "flags.md").read_text(encoding="utf-8")
    assert PLACE.findall(text) == ["flags"]
    assert "| [`lmu-hf train text`](flags/train_text.md) |" in on_page_markdown(text, Written("reference/flags.md"))


def test_a_flag_stays_in_one_piece():
    block = '<div class="language-bash highlight"><pre><code>lmu-hf push RUN --push --repo_id org/x</code></pre></div>'
    flags = '<span class="flag">--push</span> <span class="flag">--repo_id</span> org/x'
    assert on_page_content(block) == block.replace("--push --repo_id org/x", flags)
    assert on_page_content("<code>--push</code>") == '<code><span class="flag">--push</span></code>'
    assert on_page_content('<a href="#--push"><!-- push --> a--b</a>') == '<a href="#--push"><!-- push --> a--b</a>'


def test_a_page_of_the_project_and_a_notebook_become_pages_of_the_docs():
    assert moved_to_docs("[a](docs/architecture.md), [b](https://x.y)") == "[a](architecture.md), [b](https://x.y)"
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": ["1\n", "2\n"]},
        {"output_type": "display_data", "data": {"image/png": "UE5H\n", "text/plain": ["<Figure>"]}},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# A\n", "b"]},
        {"cell_type": "code", "source": ["x = 1"], "outputs": outputs},
    ]
    page, pictures = notebook_page({"cells": cells}, "name")
    assert page == (
        "# A\nb\n\n```python\nx = 1\n```\n\n```text\n1\n2\n```\n\n![What the cell above draws](name_1.png)\n"
    )
    assert pictures == {"name_1.png": b"PNG"}
