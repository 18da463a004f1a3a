"""Files of rows of every kind that people have: what is read is what was written, or the place is named."""

import bz2
import csv
import gzip
import io
import json
import lzma
import zipfile
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmu_hf.data.dialects import Dialect, find_delimiter
from lmu_hf.data.opening import kind_of, open_text
from lmu_hf.data.sources import load_files, load_rows
from lmu_hf.data.tables import PLACE, ReadOptions, complete_rows, is_table, join_tokens, read_table

pytestmark = pytest.mark.usefixtures("cache")
CASES = Path(__file__).parents[2] / "shared" / "cases"


def table(rows: list[tuple[str, ...]], mark: str = ",") -> str:
    return "".join(mark.join(row) + "\n" for row in rows)


def plain(n: int = 6) -> list[tuple[str, str]]:
    return [("text", "label"), *((f"the hotel number {i} was fine", str(i % 2)) for i in range(n))]


def rows_of(path: Path, content: str | bytes, **options) -> list[dict]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    rows = read_table(path, ReadOptions(**options)).remove_columns(PLACE)
    return rows.to_list()


def as_dicts(rows: list[tuple[str, ...]]) -> list[dict]:
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


# --------------------------------------------------------------------------- delimiters and quotes


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.txt", "rows.CSV"])
def test_the_delimiter_is_found_whatever_the_file_is_called(mark, name, tmp_path):
    assert rows_of(tmp_path / name, table(plain(), mark)) == as_dicts(plain())


def test_commas_in_a_file_of_semicolons_are_text(tmp_path):
    rows = [("text", "label"), *((f"number {i}, it, was fine", str(i)) for i in range(6))]
    assert rows_of(tmp_path / "rows.csv", table(rows, ";")) == as_dicts(rows)


def test_a_flag_overrules_the_delimiter_that_would_be_found(tmp_path):
    text = "a;b#c\n1;2#3\n"
    assert rows_of(tmp_path / "rows.csv", text, delimiter="#") == [{"a;b": "1;2", "c": "3"}]
    with pytest.raises(ValueError, match="--delimiter must be one character and no quote or line break, got '##'"):
        read_table(tmp_path / "rows.csv", ReadOptions(delimiter="##"))


def test_quotes_that_enclose_nothing_are_text(tmp_path):
    rows = [("text", "label"), *((f"{chr(34) * (i in (9, 50))}number {i}", str(i % 2)) for i in range(60))]
    read = rows_of(tmp_path / "rows.tsv", table(rows, "\t"))
    assert read == as_dicts(rows) and read[9]["text"] == '"number 9'
    # The second quote ends a cell, so that by the rules of quoting all between them is one cell.
    rows = [
        ("text", "label"),
        *((f"{chr(34) * (i == 9)}number {i}{chr(34) * (i == 50)}", str(i % 2)) for i in range(60)),
    ]
    assert rows_of(tmp_path / "more.tsv", table(rows, "\t")) == as_dicts(rows)


def test_quoted_cells_hold_delimiters_quotes_and_line_breaks(tmp_path):
    text = 'text,label\n"a, ""b""\nand c",0\n\nplain,1\n"\r\n",2\n'
    path = tmp_path / "rows.csv"
    assert rows_of(path, text) == [
        {"text": 'a, "b"\nand c', "label": "0"},
        {"text": "plain", "label": "1"},
        {"text": "\r\n", "label": "2"},
    ]
    assert read_table(path)[PLACE][:] == ["line 2", "line 5", "line 6"]


def test_quotes_escaped_by_a_backslash_are_quotes(tmp_path):
    text = 'text,label\n"he said \\"so, or\\" not",0\nfine,1\n'
    assert rows_of(tmp_path / "rows.csv", text)[0] == {"text": 'he said "so, or" not', "label": "0"}


def test_words_in_quotes_are_not_quoted_cells(tmp_path):
    text = 'text,label\n"great" movie,0\nfine,1\n'
    assert rows_of(tmp_path / "rows.csv", text)[0] == {"text": '"great" movie', "label": "0"}
    assert rows_of(tmp_path / "inch.csv", 'text,label\n5" pipe,0\n')[0]["text"] == '5" pipe'
    (tmp_path / "both.csv").write_text(text + '"a, b",0\n')
    with pytest.raises(ValueError, match=r"both\.csv, line 2 or below: a quote is not closed or not doubled"):
        read_table(tmp_path / "both.csv")


def test_a_first_line_for_excel_says_the_delimiter(tmp_path):
    assert rows_of(tmp_path / "rows.csv", "sep=;\na;b;c\n1,5;2;3\n") == [{"a": "1,5", "b": "2", "c": "3"}]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    cells=st.lists(
        st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\0\r\x1f"), max_size=6)] * 2),
        min_size=1,
        max_size=5,
    ),
    mark=st.sampled_from(",;\t|"),
)
def test_what_the_csv_module_writes_comes_back(cells, mark, tmp_path):
    written = io.StringIO()
    csv.writer(written, delimiter=mark).writerows([("text", "label"), *cells])
    lines = io.StringIO(written.getvalue(), newline="")
    assert find_delimiter(written.getvalue().splitlines(keepends=True), ",") in (",", mark)
    found = [tuple(record) for _, record in Dialect(mark).records(lines)]
    assert found == [("text", "label"), *(row for row in cells if "".join(row).strip())]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text,label\na,0\nb\n", r"line 3: 1 cells, the first line has 2; quote cells that hold commas"),
        ("text,label\na,0\n\nb,c,1\n", r"line 4: 3 cells, the first line has 2"),
        ('text,label\n"a" b,0\nc,d,1\n', r"line 2 or below: a quote is not closed or not doubled"),
        ("text,text\na,0\n", r"has several columns 'text': give each a name of its own"),
        ("text,label\n", r"holds no row: --train_file must hold rows"),
        ("text,label\n,\n \n", r"holds no row: --train_file must hold rows"),
        ("", r"is empty: --train_file must hold rows"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_with_its_line(text, message, tmp_path):
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / "rows.csv")


# --------------------------------------------------------------------------- cells as written


def test_cells_stay_as_they_are_written_in_every_row(tmp_path):
    words = ["000", "1.0", "NA", "null", "nan", "true", "", "1.4%", "1e5", " x ", "2024-01-02", "١"]
    rows = [("id", "text", "label"), *((str(i), f"row {i}", words[i % 12]) for i in range(12_000))]
    rows += [("x7", "1.5", "late")]  # another look after 12,000 rows
    assert rows_of(tmp_path / "rows.csv", table(rows)) == as_dicts(rows)


def test_blank_lines_and_lines_of_delimiters_are_no_rows(tmp_path):
    text = "\n\ntext,label\n\na,0\n,\n \nb,1\n,,".removesuffix(",")
    path = tmp_path / "rows.csv"
    assert rows_of(path, text) == [{"text": "a", "label": "0"}, {"text": "b", "label": "1"}]
    assert read_table(path)[PLACE][:] == ["line 5", "line 8"]


def test_a_file_without_a_header_takes_its_names_from_a_flag(tmp_path):
    text = table(plain()[1:], "\t")
    assert rows_of(tmp_path / "rows.tsv", text, column_names=("text", "label")) == as_dicts(plain())
    with pytest.raises(ValueError, match="line 1: 2 cells, --column_names gives 3"):
        read_table(tmp_path / "rows.tsv", ReadOptions(column_names=("a", "b", "c")))
    (tmp_path / "named.csv").write_text(table(plain()))
    with pytest.raises(ValueError, match="has a first line that names its columns: leave --column_names out"):
        read_table(tmp_path / "named.csv", ReadOptions(column_names=("text", "label")))


def test_columns_without_a_name_are_numbered_and_a_single_column_holds_anything(tmp_path):
    assert rows_of(tmp_path / "index.csv", ",text\n0,a\n") == [{"column_1": "0", "text": "a"}]
    read = rows_of(tmp_path / "one.csv", 'text\na, b; c\n"d, e"\n')
    assert read == [{"text": "a, b; c"}, {"text": "d, e"}]


# --------------------------------------------------------------------------- encodings and compression


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_byte_order_mark_says_the_encoding(encoding, kind, tmp_path):
    text = "text,label\ncafé —,1\n" if kind == "csv" else '{"text": "café —", "label": 1}\n'
    assert rows_of(tmp_path / f"rows.{kind}", text.encode(encoding)) == [{"text": "café —", "label": "1"}]


def test_an_encoding_is_named_in_the_error_and_by_the_flag(tmp_path):
    content = ("text,label\n" + "plain,0\n" * 9000 + "café,1\n").encode("cp1252")
    assert rows_of(tmp_path / "rows.csv", content, encoding="cp1252")[-1] == {"text": "café", "label": "1"}
    with pytest.raises(ValueError, match=r"rows\.csv, line 9002, is not UTF-8: --encoding must name .*cp1252"):
        read_table(tmp_path / "rows.csv")
    with pytest.raises(ValueError, match="--encoding latin-99 is none that Python knows"):
        read_table(tmp_path / "rows.csv", ReadOptions(encoding="latin-99"))
    (tmp_path / "bare.csv").write_bytes("text,label\na,0\n".encode("utf-16-le"))
    with pytest.raises(ValueError, match="if it is UTF-16, give --encoding utf-16-le"):
        read_table(tmp_path / "bare.csv")
    assert read_table(tmp_path / "bare.csv", ReadOptions(encoding="utf-16-le"))["text"][:] == ["a"]


def packed(ending: str, content: bytes) -> bytes:
    if ending == "zip":
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as archive:
            archive.writestr("inside.csv", content)
            archive.writestr("__MACOSX/._inside.csv", b"shadow")
        return made.getvalue()
    if ending == "zst":
        import pyarrow

        return pyarrow.compress(content, codec="zstd", asbytes=True)
    return {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[ending](content)


@pytest.mark.parametrize("ending", ["gz", "bz2", "xz", "zip", "zst"])
def test_what_is_compressed_is_read(ending, tmp_path):
    content = table(plain(), ";").encode()
    assert rows_of(tmp_path / f"rows.csv.{ending}", packed(ending, content)) == as_dicts(plain())
    assert rows_of(tmp_path / f"rows.CSV.{ending.upper()}", content) == as_dicts(plain())  # unpacked on its way here
    (tmp_path / f"cut.csv.{ending}").write_bytes(packed(ending, content * 50)[:60])
    with pytest.raises(ValueError, match=rf"cut\.csv\.{ending} cannot be unpacked as {ending}"):
        read_table(tmp_path / f"cut.csv.{ending}")


def test_an_archive_takes_its_kind_from_the_one_file_in_it(tmp_path):
    (tmp_path / "rows.zip").write_bytes(packed("zip", table(plain()).encode()))
    assert kind_of(tmp_path / "rows.zip") == ".csv" and is_table(tmp_path / "rows.zip")
    assert read_table(tmp_path / "rows.zip").num_rows == 6
    with zipfile.ZipFile(tmp_path / "two.csv.zip", "w") as archive:
        archive.writestr("a.csv", "x"), archive.writestr("b.csv", "x")
    with pytest.raises(ValueError, match=r"two\.csv\.zip must hold one file, it holds a\.csv, b\.csv"):
        read_table(tmp_path / "two.csv.zip")


# --------------------------------------------------------------------------- JSON


def test_json_values_are_the_words_of_the_file(tmp_path):
    lines = ['{"text": "a", "label": 1.50}', "", '{"text": 7, "label": true}', '{"text": null, "extra": [1, "b"]}']
    path = tmp_path / "rows.jsonl"
    read = rows_of(path, "\n".join(lines))
    assert [row["text"] for row in read] == ["a", "7", None]
    assert [row["label"] for row in read] == ["1.50", "true", None]
    assert [row["extra"] for row in read] == [None, None, ["1", "b"]]
    assert read_table(path)[PLACE][:] == ["line 1", "line 3", "line 4"]


@pytest.mark.parametrize(
    "value",
    [
        [{"text": "a", "label": 1}, {"text": "b", "label": 0}],
        {"text": ["a", "b"], "label": [1, 0]},
        {"text": {"0": "a", "1": "b"}, "label": {"0": 1, "1": 0}},
        {"columns": ["text", "label"], "index": [0, 1], "data": [["a", 1], ["b", 0]]},
    ],
)
@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.NDJSON"])
@pytest.mark.parametrize("indent", [None, 2])
def test_json_is_read_in_every_layout(value, name, indent, tmp_path):
    if indent is not None and isinstance(value, dict) and name != "rows.json":
        pytest.skip("an object spread over lines is a document, which .json says")
    expected = [{"text": "a", "label": "1"}, {"text": "b", "label": "0"}]
    assert rows_of(tmp_path / name, json.dumps(value, indent=indent)) == expected


def test_half_an_emoji_is_a_character_that_stands_for_what_is_lost(tmp_path):
    assert rows_of(tmp_path / "rows.jsonl", '{"text": "so \\ud83d\\ude00 \\ud83d"}\n') == [{"text": "so 😀 \ufffd"}]


def test_records_under_a_key_are_found_by_the_flag(tmp_path):
    path, value = tmp_path / "rows.json", {"version": 1, "out": {"data": [{"text": "a"}]}, "data": [{"text": "b"}]}
    assert rows_of(path, json.dumps(value), field="data") == [{"text": "b"}]
    assert rows_of(path, json.dumps(value), field="out.data") == [{"text": "a"}]
    with pytest.raises(ValueError, match="--field must say where its records are; it has out, data"):
        read_table(path)
    with pytest.raises(ValueError, match="has nothing under --field rows: at 'rows' it has version, out, data"):
        read_table(path, ReadOptions(field="rows"))


def test_nested_records_have_dotted_columns(tmp_path):
    value = {"review": {"text": "a", "by": {"name": "Bo"}}, "turns": [{"said": "x"}], "label": 0}
    read = rows_of(tmp_path / "rows.jsonl", f"{json.dumps(value)}\n" * 2)
    assert read == [{"review.text": "a", "review.by.name": "Bo", "label": "0"}] * 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"text": "a"}\n{"text": \n', r"rows\.jsonl, line 2, is not JSON"),
        ('{"text": "a"}\n[1]\n', r"rows\.jsonl, line 2, must be an object .* it is a list"),
        ('[{"text": "a"}, 7]', r"rows\.jsonl, record 2, must be an object .* it is the value '7'"),
        ("[", r"rows\.jsonl is not JSON as a whole"),
    ],
)
def test_what_is_no_json_is_refused_with_its_place(text, message, tmp_path):
    (tmp_path / "rows.jsonl").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / "rows.jsonl")


# --------------------------------------------------------------------------- parquet and workbooks


def test_parquet_values_are_words_but_for_classes_and_lists(tmp_path):
    rows = {"text": [["a", "b"], ["c"]], "stars": [1.0, 2.5], "n": [3, None], "label": [0, 1], "q": [{"x": "y"}] * 2}
    Dataset.from_dict(rows).cast_column("label", ClassLabel(names=["no", "yes"])).to_parquet(tmp_path / "rows.parquet")
    read = read_table(tmp_path / "rows.parquet")
    assert read["stars"][:] == ["1.0", "2.5"] and read["n"][:] == ["3", None] and read["q.x"][:] == ["y", "y"]
    assert read.features["label"].names == ["no", "yes"] and read[PLACE][:] == ["row 1", "row 2"]
    assert join_tokens(read, "text")["text"][:] == ["a b", "c"]
    Dataset.from_dict({"text": [[1, 2]]}).to_parquet(tmp_path / "ids.parquet")
    with pytest.raises(ValueError, match="'text' must hold text or lists of words, it holds"):
        join_tokens(read_table(tmp_path / "ids.parquet"), "text")


def test_a_workbook_is_read_by_its_sheet(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in [("text", "label", None), ("a", 1, None), (None, None, None), ("NA", 2.5, None), (None, True, None)]:
        book.active.append(row)
    book.save(tmp_path / "rows.XLSX")
    read = read_table(tmp_path / "rows.XLSX")
    assert read["text"][:] == ["a", "NA", None] and read["label"][:] == ["1", "2.5", "true"]
    assert read[PLACE][:] == ["row 2", "row 4", "row 5"]
    book.create_sheet("more").append(("text",))
    book.save(tmp_path / "two.xlsx")
    with pytest.raises(ValueError, match="has 2 sheets: --field must be one of Sheet, more"):
        read_table(tmp_path / "two.xlsx")
    assert read_table(tmp_path / "two.xlsx", ReadOptions(field="Sheet")).num_rows == 3
    (tmp_path / "broken.xlsx").write_bytes(b"PK\x03\x04xxxx")
    with pytest.raises(ValueError, match=r"broken\.xlsx is no workbook of Excel's, or a damaged one"):
        read_table(tmp_path / "broken.xlsx")


def test_a_workbook_without_its_library_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    (tmp_path / "rows.xlsx").write_bytes(packed("zip", b"x"))
    with pytest.raises(ValueError, match=r'openpyxl reads: pip install "lmu-hf\[xlsx\]"'):
        read_table(tmp_path / "rows.xlsx")


# --------------------------------------------------------------------------- incomplete rows, options, folders


def test_rows_without_a_value_are_named_or_dropped(tmp_path, caplog):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a", "label": 0}\n{"text": null, "label": 1}\n{"text": "", "label": 1}\n{"text": "c"}\n')
    rows = read_table(path)
    with pytest.raises(ValueError, match=r"rows, line 2 has no 'text' \(2 such rows\): fill it, or .*--drop_incompl"):
        complete_rows("rows", rows, ("text", "label"), drop=False)
    kept = complete_rows("rows", rows, ("text", "label"), drop=True)
    assert kept["text"][:] == ["a", ""]  # a text of nothing is a text
    assert complete_rows("rows", rows, (), drop=True, filled=("text",))["text"][:] == ["a", "c"]
    with pytest.raises(ValueError, match="rows has no complete row: line 2 has no 'text'"):
        complete_rows("rows", rows.select([1]), ("text",), drop=True)


def test_options_that_no_file_can_follow_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("text;label\nx;1\n")
    (tmp_path / "b.jsonl").write_text('{"text": "x", "label": 1}\n')
    both = {"train": tmp_path / "a.csv", "validation": tmp_path / "b.jsonl"}
    assert len(load_files(both, ReadOptions(delimiter=";"))) == 2  # it is for the one that can
    with pytest.raises(ValueError, match=r"--delimiter has no effect on .*b\.jsonl, which is read as jsonl"):
        load_files({"train": tmp_path / "b.jsonl"}, ReadOptions(delimiter=";"))
    with pytest.raises(ValueError, match=r"--field has no effect on .*a\.csv, which is read as csv"):
        load_files({"train": tmp_path / "a.csv"}, ReadOptions(field="data"))
    (tmp_path / "rows.xml").write_text("<a/>")
    with pytest.raises(ValueError, match=r"must end in one of \.csv, .*\.xlsx, perhaps with one of \.gz"):
        read_table(tmp_path / "rows.xml")


def test_a_folder_of_files_by_split_is_read_as_written(tmp_path):
    folder = tmp_path / "org" / "own"
    folder.mkdir(parents=True)
    (folder / "train.csv").write_text("text,label\nNA,007\nnull,1\n")
    (folder / "test.jsonl").write_text('{"text": 5, "label": "007"}\n')
    rows = load_rows("org/own", tmp_path, columns=("text",))
    assert rows["train"]["text"][:] == ["NA", "null"] and rows["train"]["label"][:] == ["007", "1"]
    assert rows["test"]["text"][:] == ["5"]


def test_a_changed_file_is_read_anew(tmp_path):
    assert rows_of(tmp_path / "rows.csv", "text,label\na,0\n")[0]["text"] == "a"
    assert rows_of(tmp_path / "rows.csv", "text,label\nlonger,0\n")[0]["text"] == "longer"


def test_text_loses_its_mark_and_keeps_its_lines(tmp_path):
    (tmp_path / "a.txt").write_bytes("one\r\ntwo".encode("utf-8-sig"))
    with open_text(tmp_path / "a.txt") as file:
        assert file.read() == "one\ntwo"


# --------------------------------------------------------------------------- the files of others, where they are

READ = {
    **{"blank_lines.csv": 60, "chunk_id.csv": 12_000, "chunk_label.csv": 12_000, "cp1252.csv": 60, "data.json": 60},
    **{"gz.csv.gz": 60, "headerless.tsv": 60, "int_text.jsonl": 60, "late_signal.csv": 400, "lm.CSV": 1200},
    **{"lm_na.csv": 1200, "mixed.jsonl": 60, "multi.jsonl": 60, "nested.jsonl": 60, "prices.csv": 400},
    **{"quote_pair.tsv": 60, "semi.csv": 60, "semi_commas.csv": 60, "tokens.parquet": 60, "utf16.csv": 60},
    **{"zeros.csv": 60, "mt/na_csv/train.csv": 60, "mt/null/train.jsonl": 60, "mt/onefile/pairs.csv": 60},
}
FLAGS = {
    "data.json": ReadOptions(field="data"),
    "cp1252.csv": ReadOptions(encoding="cp1252"),
    "headerless.tsv": ReadOptions(column_names=("label", "text")),
}


@pytest.mark.skipif(not CASES.is_dir(), reason=f"no folder {CASES}")
@pytest.mark.parametrize("name", READ)
def test_the_files_of_others_have_all_of_their_rows(name):
    rows = read_table(CASES / name, FLAGS.get(name, ReadOptions()))
    assert len(rows) == READ[name]
    if "label" in rows.column_names:
        assert all(rows["label"][:])
    if "text" in rows.column_names:
        assert all(join_tokens(rows, "text")["text"][:])
