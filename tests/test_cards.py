"""Every card says what its record says: each number is looked up again, by other code than wrote it."""

import json
import re
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from lmu_hf.common.record import RunRecord
from lmu_hf.hub.card import Shown, model_name, render, write_cards
from lmu_hf.hub.kinds import KINDS as CARD_KINDS
from lmu_hf.hub.kinds import kind_of
from lmu_hf.hub.results import show
from lmu_hf.shipped import FOLDER, manifest
from tiny_runs import KINDS, make_run

PROJECT = Path(__file__).parent.parent
RECORDS = PROJECT / "records"
RUNS = sorted(path.parent for path in RECORDS.glob("*/run.json"))
IN_THE_BOX = [FOLDER / name for name in manifest()]
PERCENT = ("accuracy", "f1", "macro_f1")


def written(run: Path) -> dict:
    return json.loads((run / "run.json").read_text(encoding="utf-8"))


def table(card: str, heading: str) -> list[dict[str, str]]:
    """The first table behind a heading, as rows by column."""
    behind = card.split(f"\n{heading}\n")[1]
    lines = [line for line in behind.strip().split("\n\n")[0].splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


def close(cell: str, metric: str, value: float) -> bool:
    """Whether a cell is a score rounded, and not by more than its own last digit."""
    expected = 100 * value if metric in PERCENT else value
    digits = len(cell.partition(".")[2])
    return abs(float(cell) - expected) <= 0.5 * 10**-digits + 1e-9


def metric_of(words: str, scores: dict[str, float]) -> str:
    plain = re.sub(r"[^a-z0-9]", "", words.lower())
    (found,) = (name for name in scores if plain.startswith(re.sub(r"[^a-z0-9]", "", name)))
    return found


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_each_number_of_a_card_is_in_its_record(run):
    record, shown = written(run), Shown.beside(run)
    card = render(shown, model_name(run))
    text = str(card)
    rows = table(text, "## Results")
    assert len(rows) == sum(len(scores) for scores in record["metrics"].values())
    for row in rows:
        scores = record["metrics"][row["split"]]
        metric = metric_of(row["score"], scores)
        assert close(row[f"this model (seed {record['seed']})"], metric, scores[metric])
        for heading, cell in row.items():
            if heading.startswith("seeds"):
                group = [written(run.parent / re.sub(r"seed\d+$", f"seed{seed}", run.name))
                         for seed in re.findall(r"\d+", heading)]  # fmt: skip
                values = [other["metrics"][row["split"]][metric] for other in group]
                mean, low, high = re.fullmatch(r"([\d.]+) \(([\d.]+) to ([\d.]+)\)", cell).groups()
                assert len(values) > 1
                assert close(mean, metric, sum(values) / len(values))
                assert close(low, metric, min(values)) and close(high, metric, max(values))
    said = re.search(r"recipe `([^`]+)`(?: on .*?)?; ([\d,]+) parameters", text)
    assert (said[1], said[2]) == (record["recipe"], f"{record['parameters']['total']:,}")
    budget = re.search(r"- ([\d,]+) steps in ([\d,]+) seconds.*?at most ([\d,]+) MiB. Best after epoch ([\d.]+)", text)
    steps, seconds, memory, epoch = (float(word.replace(",", "")) for word in budget.groups())
    assert steps == record["steps"] and abs(seconds - record["wall_seconds"]) <= 0.5
    assert abs(memory - record["peak_memory_bytes"] / 2**20) <= 0.5 and epoch == record["best_epoch"]
    for split, count in record["data"]["rows"].items():
        assert f"{count:,} {split}" in text
    architecture = json.loads(re.search(r"```json\n(.*?)```", text, re.DOTALL)[1])
    assert architecture == record["architecture"]
    assert f"```\n{record['command']}\n```" in text and str(record["commit"]) in text
    for name, value in record["hyperparameters"].items():
        if value is not None and not isinstance(value, dict):
            assert f"`{name}={value}`" in text


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_the_metadata_is_valid_and_holds_the_scores_as_recorded(run):
    record = written(run)
    card = ModelCard(str(render(Shown.beside(run), model_name(run))))
    found = {(entry.dataset_split, entry.metric_type): entry.metric_value for entry in card.data.eval_results}
    own = record["data"].get("splits", {})
    scores = {
        (own.get(split, split), metric): value
        for split, values in record["metrics"].items()
        for metric, value in values.items()
        if metric != "loss"
    }
    assert found == scores
    assert card.data.license == "apache-2.0" and card.data.library_name == "transformers"
    assert card.data.pipeline_tag == kind_of(RunRecord.read(run)).pipeline_tag
    assert yaml.safe_load(card.data.to_yaml())["model-index"][0]["name"] == model_name(run)


def test_the_cards_in_the_project_are_what_the_records_say(tmp_path):
    there = {path.stem: path.read_text(encoding="utf-8") for path in (PROJECT / "model_cards").glob("*.md")}
    del there["template"]
    named = re.search(r"^CARDS := (.*)$", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[1].split()
    assert sorted(there) == sorted(named) and len(there) + len(IN_THE_BOX) <= 8
    fresh = {path.stem: path.read_text(encoding="utf-8") for path in write_cards(RECORDS, tmp_path, named)}
    assert there == fresh, "`make card` writes them anew"


def test_the_cards_of_the_box_are_what_its_records_say():
    for folder in IN_THE_BOX:
        card = str(render(Shown(RunRecord.read(folder)), folder.name, in_box=True)).rstrip() + "\n"
        assert (folder / "README.md").read_text(encoding="utf-8") == card, "`python report/ship.py --cards` writes them"
        assert f'`lmu_hf.pretrained("{folder.name}")`' in card


def test_every_card_that_is_kept_shows_one_picture_that_is_there():
    kept = [path for path in (PROJECT / "model_cards").glob("*.md") if path.name != "template.md"]
    for path in [*kept, *(folder / "README.md" for folder in IN_THE_BOX)]:
        (picture,) = re.findall(r"!\[.+?\]\((.+?)\)", path.read_text(encoding="utf-8"))
        assert (path.parent / picture).read_bytes().startswith(b"\x89PNG"), path


def test_any_record_has_a_card_on_demand(tmp_path):
    runs = [make_run(tmp_path / "runs" / f"{name}-seed{seed}", "translation", seed) for name in "xy" for seed in (0, 1)]
    assert write_cards(runs[0].parent, tmp_path) == [tmp_path / "x.md", tmp_path / "y.md"]
    assert (tmp_path / "figures" / "x.png").is_file()
    assert write_cards(RECORDS, tmp_path, ["imdb"]) == [tmp_path / "imdb.md"]
    with pytest.raises(FileNotFoundError, match=r"has no run of 'imbd'; there are .*imdb-small-en"):
        write_cards(RECORDS, tmp_path, ["imbd"])


def test_a_card_tells_its_limits_in_numbers(tmp_path):
    card = str(render(Shown.beside(RECORDS / "multi30k-en-de-seed0"), "x"))
    report = json.loads((RECORDS / "multi30k_by_length.json").read_text(encoding="utf-8"))["by_length"]["groups"]
    for group, row in zip(report, table(card, "### By length"), strict=True):
        assert row["words of the source"].split(" to ")[0] == str(group["length"][0])
        assert close(row["BLEU"], "bleu", group["scores"]["bleu"])
    assert "It does worst at 16 to 32 words of the source: BLEU 33.66." in card
    assert "### By length" not in str(render(Shown.beside(RECORDS / "multi30k-lstm-en-de-seed0"), "x"))
    classes = {
        name: {"precision": 0.5, "recall": score, "f1": score, "support": 50}
        for name, score in (("a", 0.9), ("b", 0.25))
    }
    run = make_run(tmp_path / "x-seed0", "text-classification", details={"test": {"classes": classes}}, score=0.75)
    card = str(render(Shown.beside(run), "x"))
    assert "Its weakest class is `b`: 25.00 % of its 50 test rows are found" in card
    assert "within 8.2 points of it" in card  # of 0.7656 of 100 rows, by Wilson's interval


def test_the_template_beside_the_cards_is_the_one_in_use():
    assert (PROJECT / "model_cards" / "template.md").resolve() == (
        PROJECT / "src" / "lmu_hf" / "hub" / "templates" / "template.md"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_card_has_three_examples_a_widget_and_no_gap(kind, tmp_path):
    run = make_run(tmp_path / f"{kind}-seed0", kind)
    card = str(render(Shown.beside(run), "lmu-x", "org/there"))
    assert kind_of(RunRecord.read(run)) is CARD_KINDS[kind]
    blocks = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        compile(block, kind, "exec")
        assert '"org/there"' in block
    assert ("trust_remote_code=True" in blocks[1]) and "import lmu_hf" not in blocks[1]
    assert all("import lmu_hf" in blocks[place] and "trust" not in blocks[place] for place in (0, 2))
    shown = kind not in ("time-series-forecasting", "audio-classification")
    assert ("widget" in ModelCard(card).data.to_dict()) == shown
    assert not re.search(r"\{\{|\}\}|\bNone\b|undefined|\n\n\n", card.replace("commit `None`", ""))


def test_a_card_shows_only_baselines_trained_on_the_same_rows(tmp_path):
    kind = "text-classification"
    lstm = {"recipe": "films-lstm", "head": "LSTMForSequenceClassification", "baseline": "lstm", "baseline_of": "films"}
    run = make_run(tmp_path / "films-seed0", kind, recipe="films", score=0.9)
    for name, seed, score, more in (
        ("films-lstm-seed0", 0, 0.80, {}),
        ("films-lstm-seed1", 1, 0.82, {}),
        ("films-lstm-other-seed0", 0, 0.5, {"data": {"name": "other", "fingerprint": "f", "rows": {}}}),
        ("elsewhere-lstm-seed0", 0, 0.4, {"recipe": "elsewhere-lstm", "baseline_of": "elsewhere"}),
    ):
        make_run(tmp_path / name, kind, seed, score, **lstm | more)
    card = str(render(Shown.beside(run), "films"))
    rows = table(card, "## Results")
    (column,) = (heading for heading in rows[0] if heading.startswith("LSTM"))
    assert rows[0][column] == "81.00 (80.00 to 82.00)"
    assert "The baseline is `films-lstm`, trained on the same rows." in card
    baseline = str(render(Shown.beside(tmp_path / "films-lstm-seed0"), "films-lstm"))
    assert "A baseline: an LSTM in the place of every Legendre memory" in baseline
    assert "LSTM, " not in baseline.split("## Results")[1].split("## Training")[0]


def test_a_card_names_splits_as_the_data_set_does(tmp_path):
    run = make_run(tmp_path / "x-seed0", "text-classification")
    assert "What is validation here is, in the data set's own terms, a tenth of train." in str(
        render(Shown.beside(run), "x")
    )


def test_scores_are_shown_as_their_readers_expect():
    scores = {
        "accuracy": 0.98765,
        "bleu": 38.329,
        "bits_per_character": 1.8197,
        "nrmse": 0.04895,
        "f1": 1.0,
        "mae": 54321.6,
    }
    shown = ["98.77", "38.33", "1.820", "0.04895", "100.0", "54,322"]
    assert [show(metric, value) for metric, value in scores.items()] == shown


def test_without_a_record_there_is_no_card(tmp_path):
    with pytest.raises(FileNotFoundError, match="no finished run"):
        write_cards(tmp_path, tmp_path / "cards")
    with pytest.raises(FileNotFoundError, match="has not finished"):
        Shown.beside(tmp_path)
