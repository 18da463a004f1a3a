"""Whatever a record holds, its card holds as text: the same headings, cells and links as with innocent words."""

import json
import re
from copy import deepcopy
from dataclasses import asdict

import pytest
import yaml
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from lmu_hf.common.record import RunRecord
from lmu_hf.hub.card import Shown, leaderboard_entries, render
from lmu_hf.hub.markup import block, code, table, text
from tiny_runs import KINDS, make_run

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "| a | b |",
    "[here](javascript:alert(1))",
    "![x](http://tracker/x.png)",
    "`` ` ``` code",
    "a\n\n# heading\n\n- item",
    "a\r\n---\r\nlicense: mit\r\n---\r\n",
    "key: value # comment",
    "'\"{%- raw %}{{ 7 * 7 }}",
    "*bold* _italic_ ~~gone~~ __strong__",
    "&lt;b&gt; &#60;b&#62; <!-- -->",
    "www.example.org http://example.org <http://example.org>",
    "\\` \\| \\<b>",
    "\u202egnp.exe \u2028 \ud800 \x00 \x1b[31m",
    "]: #\n[a]: http://x",
    "$$x$$ @everyone #1",
    "- [ ] !!python/object/apply:os.system",
]
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def skeleton(markdown: str) -> list[tuple[str, str]]:
    """What a text is made of besides its words: every token's kind and, of links and pictures, where they lead."""
    found = []
    for token in MARKDOWN.parse(markdown):
        found.append((token.type, token.tag))
        parts = [part for part in token.children or [] if part.type != "text_special"]
        found += [(part.type, str(part.attrs)) for part in parts if part.type != "text"]
    return found


def words(markdown: str) -> str:
    return "".join(
        part.content for token in MARKDOWN.parse(markdown) for part in (token.children or [token]) if part.content
    )


def plain(hostile: str) -> str:
    """What a reader is to see: the text itself, with a space where it broke the line or could not be seen."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+", " ", hostile)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_text_of_a_record_is_shown_unchanged(hostile):
    assert words(f"Data: {text(hostile)}.") == f"Data: {plain(hostile)}."
    assert words(f"Data: {code(hostile)}.") == f"Data: {plain(hostile)}."
    cells = table(["a", "b"], [[text(hostile), code(hostile)]])
    assert words(cells) == f"ab{plain(hostile).strip()}{plain(hostile)}"
    assert [kind for kind, _ in skeleton(block(hostile))] == ["fence"]


@settings(max_examples=200)
@given(st.text(alphabet=st.sampled_from("ab `|\\<>*_[]()!&#$~-=:/@.\n\r\t\"'{}%1é"), max_size=24))
def test_no_text_of_a_record_becomes_markup(hostile):
    expected = skeleton("Data: x (y).")
    assert skeleton(f"Data: {text(hostile)} (y).") == expected
    assert [kind for kind, _ in skeleton(f"Data: {code(hostile)}.")] == [
        *("paragraph_open", "inline", "code_inline", "paragraph_close")
    ]
    row = table(["a", "b"], [[text(f"x{hostile}x"), code(f"x{hostile}x")]])
    assert skeleton(row) == skeleton(table(["a", "b"], [["x", "`x`"]]))


def spoilt(value, hostile: str):
    """JSON in which every text is another one; names stay, since the code asks for them."""
    if isinstance(value, dict):
        return {name: spoilt(inner, hostile) for name, inner in value.items()}
    if isinstance(value, list):
        return [spoilt(inner, hostile) for inner in value]
    return hostile if isinstance(value, str) else value


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> dict[str, RunRecord]:
    folder = tmp_path_factory.mktemp("runs")
    found = {}
    for kind in KINDS:
        record = RunRecord.read(make_run(folder / f"{kind}-seed0", kind, scorer="scorer", mixed_precision="bf16"))
        record.hardware |= {"accelerator": "a card"}
        record.data["splits"] = {"validation": "dev", "test": "exam"}
        found[kind] = record
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_field_of_a_record_changes_the_structure_of_a_card(records, kind, hostile):
    record = records[kind]
    fields = asdict(record)
    kept = {name: fields[name] for name in ("metric", "metrics", "parameters", "task", "head")}
    architecture = fields["architecture"]  # what decides the kind of card is no text of anybody's
    name = "stanfordnlp/imdb"  # a place on the Hub, so that the leaderboard's file is written too
    cards = []
    for value in ("innocent", hostile):
        other = RunRecord(**{**deepcopy(spoilt(fields, value)), **kept, "architecture": architecture})
        other.data |= {"name": name, "dataset": name}
        other.versions[value] = other.hyperparameters[value] = value
        other.metrics = {"validation": record.metrics["validation"], value: {record.metric: 0.5}}
        shown = Shown(other, [], [other], [other])
        card = render(shown, value, "org/name")
        assert yaml.safe_load(card.data.to_yaml())["license"] == "apache-2.0"
        assert ModelCard(str(card)).data.to_dict() == card.data.to_dict()
        json.dumps([entry.notes for entry in leaderboard_entries(other, "org/name")])
        cards.append(card)
    assert skeleton(cards[1].text) == skeleton(cards[0].text)
    assert cards[0].data.to_dict().keys() == cards[1].data.to_dict().keys()
    assert words(text(hostile)).strip() in words(cards[1].text)
