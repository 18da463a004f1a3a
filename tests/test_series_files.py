"""Files of series as people bring them: read as they are, or refused in one line that names the place."""

import numpy as np
import pytest

from lmu_hf.common.errors import InputError
from lmu_hf.data.series import archive_set, made_up_waves, pad_series, series_files
from lmu_hf.data.series_files import SeriesColumns, read_series
from lmu_hf.data.tables import ReadOptions

NAN = float("nan")
TS = "# made up\n@problemName walks\n@timeStamps false\n@classLabel true a b\n@data\n"
LONG = "id,time,x,y,label\nw1,0,1,5,a\nw1,1,2,,a\nw2,0,3,7,b\nw1,2,4,8,a\nw2,1,5,9,b\n"


def write(tmp_path, name: str, text: str):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def same(values: list[np.ndarray], wanted: list[list[list[float]]]) -> None:
    assert len(values) == len(wanted)
    for found, true in zip(values, wanted, strict=True):
        np.testing.assert_array_equal(found, np.array(true, dtype=np.float32))


def test_a_ts_file_has_channels_unequal_lengths_and_missing_values(tmp_path):
    found = read_series(write(tmp_path, "w.ts", TS + "1,2,?:4,5,6:a\n7,8:9,NaN:b\n"))
    same(found.values, [[[1, 4], [2, 5], [NAN, 6]], [[7, 9], [8, NAN]]])
    assert (found.labels, found.channels, found.names) == (["a", "b"], ["1", "2"], ["line 6", "line 7"])


def test_an_npz_file_has_lengths_or_not(tmp_path):
    values = np.arange(12, dtype=np.float64).reshape(2, 3, 2)
    np.savez(tmp_path / "w.npz", values=values, labels=np.array([3, 4]), lengths=np.array([3, 2]))
    found = read_series(tmp_path / "w.npz")
    same(found.values, [values[0].tolist(), values[1, :2].tolist()])
    assert found.labels == ["3", "4"]
    np.savez(tmp_path / "x.npz", X=values[..., 0], y=np.array(["a", "b"]))
    same(read_series(tmp_path / "x.npz").values, [[[0], [2], [4]], [[6], [8], [10]]])


def test_a_long_table_holds_a_step_a_row(tmp_path):
    found = read_series(write(tmp_path, "w.csv", LONG), SeriesColumns(time="time"))
    same(found.values, [[[1, 5], [2, NAN], [4, 8]], [[3, 7], [5, 9]]])
    assert (found.labels, found.channels, found.names) == (["a", "b"], ["x", "y"], ["series 'w1'", "series 'w2'"])
    assert found.notes == []
    one = read_series(tmp_path / "w.csv", SeriesColumns(time="time", values=("y",)))
    same(one.values, [[[5], [NAN], [8]], [[7], [9]]])


def test_a_wide_table_holds_a_series_a_row_and_ends_in_empty_cells(tmp_path):
    found = read_series(write(tmp_path, "w.csv", "label;t0;t1;t2\nup;1;2;3\ndown;4;;5\nup;6;7;\n"))
    same(found.values, [[[1], [2], [3]], [[4], [NAN], [5]], [[6], [7]]])
    assert found.labels == ["up", "down", "up"]


def test_a_table_of_the_archive_has_no_header_and_its_label_first(tmp_path):
    found = read_series(write(tmp_path, "W_TRAIN.tsv", "1\t0.5\t0.5\t-1e-1\n2\t3\t4\tNaN\n"))
    same(found.values, [[[0.5], [0.5], [-0.1]], [[3], [4]]])
    assert found.labels == ["1", "2"]


def test_a_folder_has_a_folder_of_files_for_each_class(tmp_path):
    write(tmp_path, "runs/walk/1.csv", "t,x,y\n0,1,2\n1,3,4\n")
    write(tmp_path, "runs/sit/2.csv", "t,x,y\n0,5,6\n2,7,8\n3,9,10\n")
    found = read_series(tmp_path / "runs", SeriesColumns(time="t"))
    same(found.values, [[[5, 6], [7, 8], [9, 10]], [[1, 2], [3, 4]]])
    assert (found.labels, found.channels) == (["sit", "walk"], ["x", "y"])
    assert found.notes == ["times are not evenly spaced, and are read as steps all the same"]


def test_dates_are_times(tmp_path):
    text = "id,when,x,label\nw,2024-05-31 23:00:00,1,a\nw,2024-06-01T00:00:00,2,a\n"
    found = read_series(write(tmp_path, "w.csv", text), SeriesColumns(time="when"))
    same(found.values, [[[1], [2]]])
    assert found.notes == []


def test_series_without_labels_are_read_where_none_are_needed(tmp_path):
    path = write(tmp_path, "w.csv", "id,x\nw1,1\nw1,2\nw2,3\nw2,4\n")
    found = read_series(path, needs_labels=False)
    assert (found.labels, found.names) == (None, ["series 'w1'", "series 'w2'"])
    with pytest.raises(InputError, match=r"no column 'label': --label_column must be one of id, x"):
        read_series(path)


BAD = {
    "empty.ts": ("", None, "is empty"),
    "header.ts": (TS, None, "holds no series"),
    "early.ts": ("1,2:a\n", None, r"line 1: a .ts file needs a line @data"),
    "stamps.ts": ("@timeStamps true\n@data\n(0,1):a\n", None, "time stamps"),
    "number.ts": (TS + "1,x:a\n", None, r"line 6, channel 1, value 2: 'x' is no number; .* is a missing value"),
    "colon.ts": (TS + "1,2\n", None, "line 6: a series and its label are parted by a colon"),
    "ragged.ts": (TS + "1,2:3:a\n", None, "line 6: its channels have 1 to 2 steps"),
    "channels.ts": (TS + "1,2:3,4:a\n1,2:b\n", None, "line 7 has 1 channels, those above have 2"),
    "nothing.ts": (TS + "?,?:a\n1,2:b\n", None, "line 6: every value is missing"),
    "infinite.ts": (TS + "1,inf:a\n", None, "line 6, step 2: channel '1' is infinite"),
    "huge.ts": (TS + "1,1e39:a\n", None, "line 6, step 2: channel '1' is infinite, or too large for float32"),
    "target.ts": ("@targetLabel true\n@data\n1,2:0.5\n", None, "numbers to predict"),
    "unlabelled.ts": ("@classLabel false\n@data\n1,2\n", None, "no labels"),
    "two.csv": ("id,x,label\nw,1,a\nw,2,b\n", None, "series 'w' has the labels 'a' and 'b'"),
    "twice.csv": ("id,time,x,label\nw,1,1,a\nw,1,2,a\n", "time", "series 'w', line 3: its time stands twice"),
    "unsorted.csv": ("id,time,x,label\nw,2,1,a\nw,1,2,a\n", "time", "line 3: its time comes after a later one"),
    "when.csv": ("id,time,x,label\nw,noon,1,a\nw,2,2,a\n", "time", "line 2: the time 'noon' is neither a number nor"),
    "untimed.csv": ("id,x,label\nw,1,a\nw,2,a\n", "time", "no column 'time'"),
    "cell.csv": ("id,x,label\nw,1,a\nw,high,a\n", None, "column 'x', line 3: 'high' is no number"),
    "single.csv": ("id,x,label\nv,1,a\nw,2,b\nu,2,b\n", None, "a single step.*--id_column"),
    "values.csv": ("id,label\nw,a\n", None, "no column of values beside"),
    "other.json5": ("{}", None, "must end in .ts, .npz or one of"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_gets_one_line(name, tmp_path):
    text, time, said = BAD[name]
    with pytest.raises(InputError, match=said) as complaint:
        read_series(write(tmp_path, name, text), SeriesColumns(time=time))
    assert "\n" not in str(complaint.value) and name in str(complaint.value)


def test_a_bad_npz_file_gets_one_line(tmp_path):
    for arrays, said in (
        ({"labels": np.zeros(2)}, "no array 'values'"),
        ({"values": np.zeros((2, 3))}, "no array 'labels'"),
        ({"values": np.zeros(2), "labels": np.zeros(2)}, "must be numbers"),
        ({"values": np.zeros((2, 3)), "labels": np.zeros(3)}, r"labels must be \(2,\)"),
        ({"values": np.zeros((2, 3)), "labels": np.zeros(2), "lengths": np.array([3, 4])}, "from 1 to 3 steps"),
        ({"values": np.array([[None]]), "labels": np.zeros(1)}, "cannot be read as .npz"),
    ):
        np.savez(tmp_path / "w.npz", **arrays)
        with pytest.raises(InputError, match=said):
            read_series(tmp_path / "w.npz")


def rows(classes: str, start: float = 0.0) -> str:
    return "".join(f"{start + at},{at % 3},1:{label}\n" for at, label in enumerate(classes))


def test_splits_share_classes_and_a_tenth_is_held_out(tmp_path):
    files = {
        "train": write(tmp_path, "train.ts", TS + rows("ab" * 20)),
        "test": write(tmp_path, "test.ts", TS + rows("ba")),
    }
    found = series_files(files)
    assert {split: len(part) for split, part in found.splits.items()} == {"train": 36, "validation": 4, "test": 2}
    assert found.held_out and found.labels == ["a", "b"]
    assert found.splits["test"].labels.tolist() == [1, 0]
    assert sorted(found.splits["validation"].labels) == [0, 0, 1, 1]
    again = series_files(files)
    assert again.fingerprint() == found.fingerprint()
    write(tmp_path, "test.ts", TS + rows("ba", start=1))
    assert series_files(files).fingerprint() != found.fingerprint()


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        (rows("a" * 12), "", "one class, 'a', in train"),
        (rows("ab" * 4), "", "8 training rows, too few to hold out a tenth of them: give a --validation_file"),
        (rows("ab" * 6), rows("ac"), r"test, line 7: the class 'c' is not one of a, b, which training has"),
        (rows("ab" * 6), "1,2:3,4:a\n", "2 channels in test and 1 before"),
    ],
)
def test_splits_that_do_not_fit_are_refused(train, test, said, tmp_path):
    files = {"train": write(tmp_path, "train.ts", TS + train)}
    if test:
        files["test"] = write(tmp_path, "test.ts", TS + test)
    with pytest.raises(InputError, match=said):
        series_files(files)


def test_what_tells_nothing_is_said(tmp_path):
    lines = "".join(f"{at},2,?:5,5,5:{'ab'[at % 2]}\n" for at in range(12))
    found = series_files({"train": write(tmp_path, "train.ts", TS + lines)})
    missing, constant = found.notes
    assert missing.startswith("16.7% of the values are missing")
    assert constant == "channels that tell nothing: 2 always 5"


def test_a_channel_that_only_counts_steps_is_told(tmp_path):
    lines = "".join(f"0.5,1,1.5:{at},5,{at * at}:{'ab'[at % 2]}\n" for at in range(12))
    found = series_files({"train": write(tmp_path, "train.ts", TS + lines)})
    assert found.notes == ("'1' counts the steps of every series: if it is their time, name it as --time_column",)


def test_a_set_of_the_archive_lies_in_a_folder_of_its_name(tmp_path):
    for split in ("TRAIN", "TEST"):
        write(tmp_path, f"Walks/Walks_{split}.ts", TS + rows("ab" * 6))
    found = archive_set("Walks", tmp_path)
    assert (found.name, found.title, len(found.splits["test"])) == ("Walks", "Walks", 12)
    with pytest.raises(FileNotFoundError, match=r"NAME_TRAIN\.ts"):
        archive_set("Runs", tmp_path)


def test_made_up_waves_are_the_same_each_time():
    found = made_up_waves(rows=24)
    assert found.fingerprint() == made_up_waves(rows=24).fingerprint()
    assert found.labels == ["sawtooth", "sine", "square"]
    assert not found.held_out and len(found.splits["train"]) == 12


def test_a_batch_says_which_steps_and_values_there_are():
    batch = pad_series([(np.array([[1, NAN]], dtype=np.float32), 1), (np.ones((2, 2), dtype=np.float32), 0)])
    assert batch["input_values"].tolist() == [[[1, 0], [0, 0]], [[1, 1], [1, 1]]]
    assert batch["attention_mask"].tolist() == [[1, 0], [1, 1]]
    assert batch["observed_mask"][0, 0].tolist() == [True, False]
    assert batch["labels"].tolist() == [1, 0]


def test_a_delimiter_and_an_encoding_are_heard(tmp_path):
    (tmp_path / "w.csv").write_bytes("id|größe|label\nw|1|ä\nw|2|ä\n".encode("cp1252"))
    found = read_series(tmp_path / "w.csv", options=ReadOptions(delimiter="|", encoding="cp1252"))
    assert (found.channels, found.labels) == (["größe"], ["ä"])
