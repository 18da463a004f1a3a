"""Labelled text: where rows come from, which split is which, and what is refused."""

import argparse
from pathlib import Path

import datasets
import pytest
from datasets import Dataset, Value

from lmu_hf.cli.data_flags import add_data_flags
from lmu_hf.cli.flags import ScriptParser
from lmu_hf.cli.loading import labelled_rows
from lmu_hf.data.labelled import glue, labelled_dataset, labelled_files, made_up, with_more
from lmu_hf.data.labels import Columns
from lmu_hf.data.sentences import opinions, paraphrases
from lmu_hf.data.telling import warn_of_known
from tiny_rows import TWO, sentences, write

NAMES_OF_MNLI = ("validation_matched", "validation_mismatched")

pytestmark = pytest.mark.usefixtures("cache")


def pair_rows(n: int, columns: tuple[str, str], labels: list) -> dict[str, list]:
    first, second = ([f"{word} {i}" for i in range(n)] for word in ("one", "another"))
    return {columns[0]: first, columns[1]: second, "label": (labels * n)[:n]}


# --------------------------------------------------------------------------- made-up rows


@pytest.mark.parametrize("make, key", [(opinions, ("text",)), (paraphrases, ("text", "text_pair"))])
def test_made_up_rows_are_distinct_balanced_and_reproducible(make, key):
    rows = make(600)
    assert len({tuple(row[name] for name in key) for row in rows}) == 600
    assert 0.42 < sum(row["label"] for row in rows) / 600 < 0.58
    assert make(600) == rows != make(600, seed=1)


def test_made_up_splits_have_no_row_in_common():
    task = made_up("paraphrases", rows=120)
    pairs = [(row["text"], row["text_pair"]) for rows in task.splits.values() for row in rows]
    assert len(set(pairs)) == 120
    assert {split: len(rows) for split, rows in task.splits.items()} == {"train": 80, "validation": 20, "test": 20}


# --------------------------------------------------------------------------- which split is which


def test_without_labels_for_the_test_the_official_validation_is_the_test(tmp_path):
    folder = tmp_path / "nyu-mll" / "glue" / "sst2"
    write(folder, "train", sentences(50))
    write(folder, "validation", sentences(8, begin=50))
    write(folder, "test", {"sentence": ["a secret"] * 4, "label": [-1] * 4})
    rows = glue("sst2", tmp_path)
    assert {split: len(part) for split, part in rows.splits.items()} == {"train": 45, "validation": 5, "test": 8}
    assert rows.splits["test"]["text"][0] == "number 50 of many"
    kept, held = (set(rows.splits[split]["text"]) for split in ("train", "validation"))
    assert not kept & held
    assert kept | held == {f"number {i} of many" for i in range(50)}
    assert rows.origin["test"] == "all of validation"
    assert rows.origin["validation"] == "a tenth of train, drawn with seed 0"
    assert rows.labels == ["no", "yes"]
    again = glue("sst2", tmp_path)
    assert again.splits["validation"]["text"][:] == rows.splits["validation"]["text"][:]
    assert again.fingerprint() == rows.fingerprint()


def test_a_labelled_test_is_the_test_and_glue_knows_its_columns_and_metrics(tmp_path):
    for split, n in (("train", 12), ("validation", 4), ("test", 6)):
        write(tmp_path / "nyu-mll/glue/mrpc", split, pair_rows(n, ("sentence1", "sentence2"), [0, 1]))
    rows = glue("mrpc", tmp_path)
    assert {split: len(part) for split, part in rows.splits.items()} == {"train": 12, "validation": 4, "test": 6}
    assert rows.pairs
    assert rows.metrics == ("accuracy", "f1")


def test_mnli_has_two_tests(tmp_path):
    folder, names = tmp_path / "nyu-mll/glue/mnli", ("premise", "hypothesis")
    write(folder, "train", pair_rows(20, names, [0, 1]))
    for split, n in ((NAMES_OF_MNLI[0], 3), (NAMES_OF_MNLI[1], 5)):
        write(folder, split, pair_rows(n, names, [0, 1]))
    with pytest.raises(ValueError, match="must have a split 'validation_matched'; it has train, validation"):
        glue("mnli", tmp_path)  # by their names alone, both files would be validation
    files = "".join(f"  - {{split: {s}, path: mnli/{s}-*}}\n" for s in ("train", *NAMES_OF_MNLI))
    write_file(folder.parent / "README.md", f"---\nconfigs:\n- config_name: mnli\n  data_files:\n{files}---\n")
    assert len(glue("mnli", tmp_path).splits["test"]) == 3
    mismatched = glue("mnli-mm", tmp_path)
    assert len(mismatched.splits["test"]) == 5
    assert mismatched.origin["test"] == "all of validation_mismatched"


def test_graded_labels_make_a_regression(tmp_path):
    folder = tmp_path / "nyu-mll/glue/stsb"
    for split, labels in (("train", [0.0, 2.5, 5.0]), ("validation", [1.5, 3.0]), ("test", [-1.0])):
        write(folder, split, pair_rows(20, ("sentence1", "sentence2"), labels), Value("float32"))
    rows = glue("stsb", tmp_path)
    assert rows.labels is None
    assert rows.metrics == ("pearson", "spearmanr")
    assert rows.origin["test"] == "all of validation"


def test_rows_in_dispute_are_dropped_and_a_tenth_is_held_out_of_training(tmp_path):
    write(tmp_path / "stanfordnlp/snli", "train", pair_rows(40, ("premise", "hypothesis"), [0, 1, -1, 1]))
    write(tmp_path / "stanfordnlp/snli", "test", pair_rows(8, ("premise", "hypothesis"), [0, -1]))
    rows = labelled_dataset("stanfordnlp/snli", tmp_path)
    assert {split: len(part) for split, part in rows.splits.items()} == {"train": 27, "validation": 3, "test": 4}
    assert all(label in (0, 1) for part in rows.splits.values() for label in part["label"])


def test_neighbouring_rows_are_held_out_together(tmp_path):
    write(tmp_path / "org/reviews", "train", sentences(103, name="text"))
    rows = labelled_dataset("org/reviews", tmp_path, validation_block=5)
    held = sorted(int(text.split()[1]) for text in rows.splits["validation"]["text"])
    first, second = held[0], held[5]
    assert first % 5 == second % 5 == 0
    assert held == [*range(first, first + 5), *range(second, second + 5)]
    assert len(rows.splits["train"]) == 93
    assert rows.origin["validation"] == "a tenth of train, drawn with seed 0, in runs of 5"
    one_by_one = labelled_dataset("org/reviews", tmp_path)
    assert one_by_one.fingerprint() == labelled_dataset("org/reviews", tmp_path, validation_block=1).fingerprint()
    with pytest.raises(ValueError, match=r"103 training rows are too few .* for validation, in runs of 12"):
        labelled_dataset("org/reviews", tmp_path, validation_block=12)
    with pytest.raises(ValueError, match="validation_block must be at least 1 row, got 0"):
        labelled_dataset("org/reviews", tmp_path, validation_block=0)
    for split in ("validation", "test"):
        write(tmp_path / "org/reviews", split, sentences(8, name="text"))
    with pytest.raises(ValueError, match=r"validation_block=5 says .* but validation validates already"):
        labelled_dataset("org/reviews", tmp_path, validation_block=5)


@pytest.mark.parametrize(
    "words, together",
    [
        ([], ", in runs of 2"),
        (["--dataset_name", "org/own"], ", in runs of 2"),
        (["--dataset_name", "org/other"], ""),
        (["--validation_block", "4"], ", in runs of 4"),
        (["--dataset_name", "org/other", "--validation_block", "4"], ", in runs of 4"),
    ],
)
def test_validation_block_of_a_recipe_is_for_its_own_data_and_of_a_flag_for_any(words, together, tmp_path):
    for name in ("own", "other"):
        write(tmp_path / "org" / name, "train", sentences(40, name="text"))
    parser = ScriptParser("manual")
    add_data_flags(parser, "classification")
    args = argparse.Namespace(**vars(parser.parse_args(words)), data_dir=tmp_path)
    named = {"task_name": None, "dataset_name": "org/own", "made_up": None, "validation_block": 2}
    assert labelled_rows(args, named).origin["validation"] == f"a tenth of train, drawn with seed 0{together}"


# --------------------------------------------------------------------------- files


def write_file(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_files_of_every_kind_hold_the_same_rows(tmp_path):
    rows = [("so, good", "NA", "yes"), ("null", "bad", "no")] * 6
    named = [dict(zip(("a", "b", "c"), row, strict=True)) for row in rows]
    Dataset.from_list(named).to_parquet(tmp_path / "rows.parquet")
    Dataset.from_list(named).to_json(tmp_path / "rows.jsonl")
    write_file(tmp_path / "rows.csv", "a,b,c\n" + "".join(f'"{a}",{b},{c}\n' for a, b, c in rows))
    write_file(tmp_path / "rows.tsv", "a\tb\tc\n" + "".join(f"{a}\t{b}\t{c}\n" for a, b, c in rows))
    for kind in ("parquet", "jsonl", "csv", "tsv"):
        file = tmp_path / f"rows.{kind}"
        read = labelled_files({"train": file, "validation": file}, Columns("a", "b", "c"))
        assert read.labels == ["no", "yes"]
        expected = [{"text": a, "text_pair": b, "label": int(c == "yes")} for a, b, c in rows]
        assert read.splits["train"].to_list() == expected, kind
        assert "test" not in read.splits  # validation stays what it was called


@pytest.mark.parametrize(
    "labels, names, first", [("3 -1 3 -1", ["-1", "3"], 1), ("b a b a", ["a", "b"], 1), ("0.5 2 1 4", None, 0.5)]
)
def test_labels_are_words_integers_or_grades(labels, names, first, tmp_path):
    rows = "".join(f"word {i},{label}\n" for i, label in enumerate(labels.split() * 3))
    read = labelled_files({"train": write_file(tmp_path / "rows.csv", "text,label\n" + rows)}, Columns())
    assert read.labels == names
    whole = {row["text"]: row["label"] for part in read.splits.values() for row in part}
    assert whole["word 0"] == first
    assert len(read.splits["validation"]) == 1


GOOD = "text,label\n" + "it goes on,a\nso it does,b\n" * 10


@pytest.mark.parametrize(
    "train, validation, message",
    [
        (None, GOOD, r"there is no file .*train\.csv: --train_file must name one"),
        ("", GOOD, r"train\.csv is empty: --train_file must hold rows"),
        ("text,label\n", GOOD, r"train\.csv holds no row: --train_file must"),
        (b"text,label\n\xff,a\n", GOOD, r"train\.csv, line 2, is not UTF-8: --encoding must name"),
        (
            GOOD,
            GOOD.replace("text", "line"),
            "no column 'text' in validation: --text_column must be one of line, label",
        ),
        (GOOD.replace(",", "#"), GOOD, "'text#label', which is one column: --delimiter says what parts columns"),
        (
            GOOD,
            "text,label\nit,c\n",
            "validation split of train.csv has the label 'c' \\(line 2\\), .*its classes: 'a', 'b'",
        ),
        ("text,label\nit,a\nit,a\n", GOOD, "only the label 'a': there is nothing to tell apart"),
        (
            "text,label\nit,a\nit,\n",
            GOOD,
            "line 3 has no 'label': fill it, or leave such rows out with --drop_incomplete_rows",
        ),
        ("text,label\nit,0.5\nit,inf\n", GOOD, "has the label 'inf' \\(line 3\\) among numbers: fill it"),
        ("text,label\nit,a\nso,b\n", None, "2 training rows are too few"),
    ],
)
def test_unusable_files_are_refused_by_name(train, validation, message, tmp_path):
    files = {"train": train, "validation": validation}
    paths = {split: tmp_path / f"{split}.csv" for split in files if split == "train" or validation is not None}
    for split, text in files.items():
        if text is not None:
            (tmp_path / f"{split}.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        labelled_files(paths)


def test_extra_rows_are_trained_on_and_none_is_held_out(tmp_path):
    rows = labelled_files({"train": write_file(tmp_path / "rows.csv", GOOD)})
    text = "label,text,probability\n" + "b,and on,0.9\na,so,0.6\n" * 20
    more = with_more(rows, write_file(tmp_path / "more.csv", text))
    assert len(more.splits["train"]) == len(rows.splits["train"]) + 40
    assert more.splits["train"][-2:] == {"text": ["and on", "so"], "label": [1, 0]}
    assert more.splits["validation"].to_list() == rows.splits["validation"].to_list()
    assert more.origin["train"] == f"{rows.origin['train']}, and more.csv"
    assert more.fingerprint() != rows.fingerprint()
    with pytest.raises(
        ValueError, match=r"other.csv has the label 'c' \(line 3\), which is none of its classes: 'a', 'b'"
    ):
        with_more(rows, write_file(tmp_path / "other.csv", "text,label\nso,b\nso,c\n"))
    with pytest.raises(ValueError, match=r"more\.csv has no column 'text_pair' in train"):
        with_more(made_up("paraphrases", 12), tmp_path / "more.csv")
    with pytest.raises(FileNotFoundError, match="--extra_train_file must name one"):
        with_more(rows, tmp_path / "nowhere.csv")


def test_unusable_data_sets_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"task_name must be one of cola, .*got 'sst'"):
        glue("sst")
    with pytest.raises(FileNotFoundError, match=r"no folder .*glue/rte"):
        glue("rte", tmp_path)
    write(tmp_path / "org/only", "validation", sentences(4, name="text"))
    with pytest.raises(ValueError, match="must have a split 'train'"):
        labelled_dataset("org/only", tmp_path)
    write(tmp_path / "org/wide", "train", {"text": ["a"] * 20, "label": [0, 7] * 10}, Value("int64"))
    features = datasets.Features({"text": Value("string"), "label": TWO})
    table = datasets.load_dataset(str(tmp_path / "org/wide"))["train"].data.table
    Dataset(table, info=datasets.DatasetInfo(features=features)).to_parquet(tmp_path / "org/wide/train.parquet")
    (tmp_path / "org/wide/train-00000-of-00001.parquet").unlink()
    with pytest.raises(
        ValueError, match=r"the train split of org/wide has the label '7' \(row 2\), which is none of its classes"
    ):
        labelled_dataset("org/wide", tmp_path)
    with pytest.raises(ValueError, match=r"must end in one of \.csv"):
        labelled_files({"train": write_file(tmp_path / "rows.xml", "<a/>")})
    with pytest.raises(ValueError, match="must differ"):
        labelled_files({"train": write_file(tmp_path / "rows.csv", GOOD)}, Columns(text="text", label="text"))
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 1, is not JSON: "):
        labelled_files({"train": write_file(tmp_path / "rows.jsonl", "{so")})


def test_rows_that_stand_in_two_files_are_told(tmp_path):
    files = {split: tmp_path / f"{split}.csv" for split in ("train", "test")}
    shared = [f"a shared text {number},{number % 2}" for number in range(3)]
    own = {split: [f"of {split} {number},{number % 2}" for number in range(97)] for split in files}
    for split, path in files.items():
        path.write_text("\n".join(["text,label", *shared, *own[split]]), encoding="utf-8")
    warning = warn_of_known(labelled_files(files))
    assert warning.startswith("\nwarning: 3 of 100 test rows stand among the training rows, too")
    assert "validation" not in warning
    # One row in a hundred may coincide, and rows without a text are no news.
    files["test"].write_text(
        "\n".join(["text,label", shared[0], *own["test"], "one more,0", "two more,1", ",0", ",1"]), encoding="utf-8"
    )
    assert warn_of_known(labelled_files(files)) == ""
