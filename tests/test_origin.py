"""A run's model is scored on the run's own rows: its folder says which, and they are known by every character."""

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoConfig

from lmu_hf.common.record import RunRecord
from lmu_hf.data.label_rules import Job
from lmu_hf.data.labelled import labelled_files
from lmu_hf.data.labels import Columns
from script_runs import call_verb as call

SHORT = ["--max_train_steps", "2", "--eval_steps", "1", "--quiet", "--report_to", "none", "--output_dir", "run"]

pytestmark = pytest.mark.usefixtures("cache")


def refused(name: str, *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        call(name, *words)
    assert isinstance(ended.value.code, str) and "\n" not in ended.value.code
    return ended.value.code


def write_rows(path: Path, rows: int, begin: int = 0, labels: tuple[str, str] = ("negative", "positive")) -> None:
    lines = (f"film {begin + i} was {('bad', 'good')[i % 2]},{labels[i % 2]}\n" for i in range(rows))
    path.write_text("review,verdict\n" + "".join(lines), encoding="utf-8")


@pytest.fixture
def run(tmp_path, monkeypatch) -> RunRecord:
    """A run on somebody's own files, whose labels are those of the made-up sentences of its recipe."""
    monkeypatch.chdir(tmp_path)
    write_rows(Path("train.csv"), 60)
    write_rows(Path("test.csv"), 20, begin=100)
    columns = ["--text_column", "review", "--label_column", "verdict", "--from_scratch"]
    return call("train_glue", "--train_file", "train.csv", "--test_file", "test.csv", *columns, *SHORT)


def test_a_model_of_own_rows_is_scored_on_them(run, tmp_path, monkeypatch, capsys):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # files are remembered by their whole paths
    for words in ([], ["--recipe", "own-text"]):
        assert call("evaluate", str(tmp_path / "run" / "model"), *words, "--json") == run.metrics["test"]
        result = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert result["task"] == "train.csv" and result["data"]["fingerprint"] == run.data["fingerprint"]
    model = str(tmp_path / "run" / "model")
    assert call("evaluate", model, "--split", "validation") == run.metrics["validation"]


def test_missing_or_changed_rows_are_named(run):
    Path("test.csv").rename("moved.csv")
    assert refused("evaluate", "run/model").endswith("/test.csv: --test_file must name one")
    assert call("evaluate", "run/model", "--test_file", "moved.csv") == run.metrics["test"]
    write_rows(Path("test.csv"), 22, begin=100)
    assert "was trained on train.csv, and the rows of train.csv are no longer the same" in refused(
        "evaluate", "run/model"
    )
    Path("run/data.json").unlink()  # a folder of before there was such a file, or one that was copied without it
    assert "was trained on train.csv, and what would be read is opinions by rule" in refused("evaluate", "run/model")
    Path("run/data.json").write_text("{")
    assert "run/data.json cannot be read" in refused("evaluate", "run/model")


def test_scores_on_the_training_rows_are_said_to_flatter(run, caplog):
    call("evaluate", "run/model", "--test_file", "test.csv")
    assert "flatters" not in caplog.text
    call("evaluate", "run/model", "--test_file", "train.csv")
    assert "train.csv is what the model was trained on: the score flatters it" in caplog.text


def test_rows_to_label_have_the_columns_of_the_run_and_long_ones_are_counted(run, capsys, caplog):
    Path("new.csv").write_text("review,other\n" + "film was good,x\n" * 3 + "film " * 5000 + ",x\n")
    call("label", "run/model", "--train_file", "new.csv", "--output_file", "labels.csv")
    assert "labels.csv: 4 texts; " in capsys.readouterr().out
    assert "1 of 4 texts are cut at 8 tokens" in caplog.text


def test_a_model_without_its_run_asks_for_its_data(run):
    shutil.copytree("run/model", "bare")
    assert "does not lie in a run folder that would say which rows it is for: name them by --test_file or" in refused(
        "evaluate", "bare"
    )
    own = ["--test_file", "test.csv", "--text_column", "review", "--label_column", "verdict"]
    assert call("evaluate", "bare", "--recipe", "opinions", *own) == run.metrics["test"]


def test_the_classes_are_the_models_by_their_names(run):
    # Alone, this file would have its one class numbered 0, whichever it is.
    Path("good.csv").write_text("review,verdict\n" + "film was good,positive\n" * 12)
    Path("bad.csv").write_text("review,verdict\n" + "film was good,negative\n" * 12)
    good, bad = (call("evaluate", "run/model", "--test_file", f"{name}.csv")["accuracy"] for name in ("good", "bad"))
    assert {good, bad} == {0.0, 1.0}
    write_rows(Path("stars.csv"), 12, labels=("1", "5"))
    told = refused("evaluate", "run/model", "--test_file", "stars.csv")
    assert told == (
        "evaluate.py: error: the test split of stars.csv has the label '1' (line 2), which is none of its classes: "
        "'negative', 'positive'"
    )


def test_a_saved_order_of_classes_is_kept(tmp_path):
    write_rows(tmp_path / "rows.csv", 12)
    columns = Columns("review", None, "verdict")
    for order in (["negative", "positive"], ["positive", "negative"], ["neutral", "positive", "negative"]):
        rows = labelled_files(
            {"test": tmp_path / "rows.csv"}, columns, known=Job("single_label_classification", tuple(order))
        )
        assert rows.labels == order
        words = [order[number] for number in rows.splits["test"]["label"]]
        assert words == ["negative", "positive"] * 6
    numbers = tmp_path / "numbers.csv"
    numbers.write_text("text,label\n" + "".join(f"row {i},{i}\n" for i in range(12)))
    assert labelled_files({"test": numbers}, known=Job("regression")).splits["test"]["label"][:3] == [0.0, 1.0, 2.0]
    with pytest.raises(ValueError, match=r"has the label 'negative' .*is no finite number"):
        labelled_files({"test": tmp_path / "rows.csv"}, columns, known=Job("regression"))


@pytest.mark.parametrize("ending, words", [("txt", []), ("csv", ["--text_column", "line"])])
def test_a_text_model_is_scored_on_another_file_with_its_own_tokenizer(ending, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    train, other = Path(f"train.{ending}"), Path(f"other.{ending}")
    for path, word in ((train, "goes"), (other, "went")):
        lines = [f"so it {word} on and on\n"] * 60
        path.write_text("line\n" * (ending == "csv") + "".join(lines))
    record = call("train_char_lm", "--train_file", str(train), *words, *SHORT)
    split = ["--split", "validation"]
    assert call("evaluate", "run/model", *split) == record.metrics["validation"]
    scores = call("evaluate", "run/model", "--test_file", str(other), "--json")
    assert scores["bits_per_character"] > record.metrics["validation"]["bits_per_character"]
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["data"]["name"] == other.name
    assert refused("evaluate", "run/model", "--horizon", "3").startswith(
        "evaluate.py: error: --horizon has no effect on"
    )


def test_flags_that_chose_a_recipes_rows_are_remembered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = call("train_glue", "--rows", "60", *SHORT)
    assert json.loads(Path("run/data.json").read_text())["rows"] == 60
    assert call("evaluate", "run/model") == record.metrics["test"]
    told = refused("evaluate", "run/model", "--rows", "66")
    assert "was trained on opinions by rule, and the rows of opinions by rule are no longer the same" in told
    assert AutoConfig.from_pretrained("run/model").num_labels == 2


def test_flags_without_effect_on_the_rows_are_refused_once_the_rows_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("grades.csv").write_text("text,label\n" + "".join(f"row {i},{i / 4}\n" for i in range(40)))
    told = refused("train_glue", "--train_file", "grades.csv", "--label_smoothing_factor", "0.1", *SHORT)
    assert "--label_smoothing_factor has no effect on grades.csv" in told
    told = refused("train_glue", "--rows", "60", "--config_overrides", "vocab_size=5", *SHORT)
    assert "--config_overrides vocab_size has no effect: the data of opinions by rule decides it" in told
    assert not Path("run").exists()
