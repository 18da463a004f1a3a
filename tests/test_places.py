"""A record says nothing of the machine that it was made on, and of a command only what somebody else can use."""

import shlex
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmu_hf.common.places import plain_command, without_places
from lmu_hf.common.record import command_line

COMMANDS = {
    "--train_file /home/alice/data/reviews.csv": "--train_file reviews.csv",
    "--train_file=/home/alice/data/reviews.csv": "--train_file=reviews.csv",
    "--output_dir ~/runs/x --data_dir ~alice": "--output_dir x --data_dir '~'",
    "--data_dir /Users/alice": "--data_dir '~'",
    "--data_dir /root --data /mnt": "--data_dir '~' --data mnt",
    "--train_file ../../home/alice/x.csv": "--train_file x.csv",
    "--train_file 'C:\\Users\\alice\\my data\\x.csv'": "--train_file x.csv",
    "--train_file '\\\\server\\alice\\x.csv'": "--train_file x.csv",
    "--train_file 'file:///home/alice/x.csv'": "--train_file x.csv",
    "--train_file '/home/alice/my data/x y.csv'": "--train_file 'x y.csv'",
    '--config_overrides \'{"words": "/home/alice/a b/v.txt"}\'': '--config_overrides \'{"words": "v.txt"}\'',
    "--hub_token hf_short --seed 1": "--hub_token ... --seed 1",
    "--hub_token=abc --token def --password p --api-key k": "--hub_token=... --token ... --password ... --api-key ...",
    "--model_name_or_path org/name --dataset_name a/b": "--model_name_or_path org/name --dataset_name a/b",
    "--data_dir data/sub --tokenizer_name word --token_dropout 0.1": (
        "--data_dir data/sub --tokenizer_name word --token_dropout 0.1"
    ),
    "--url https://example.org/a/b/c.csv": "--url https://example.org/a/b/c.csv",
}


@pytest.mark.parametrize("typed", COMMANDS)
def test_a_path_in_a_command_keeps_its_last_part(typed):
    assert plain_command(["python", *shlex.split(typed)]) == f"python {COMMANDS[typed]}"


def test_a_path_below_the_working_folder_is_written_relative_to_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert plain_command(["python", str(tmp_path / "data" / "x.csv")]) == "python data/x.csv"
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "scripts" / "train.py"), "--hub_token", "hf_" + "a" * 34])
    assert command_line() == "python scripts/train.py --hub_token ..."
    monkeypatch.setattr(sys, "argv", ["/opt/elsewhere/train.py", f"--data={Path.home()}/x"])
    assert command_line() == "python train.py --data=x"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("read from /home/alice/runs/x, then /var/data/y.csv.", "read from x, then y.csv."),
        ("and/or 1/2 km/h </b> TCP/IP 5 / 3", "and/or 1/2 km/h </b> TCP/IP 5 / 3"),
        ("stanfordnlp/imdb", "stanfordnlp/imdb"),
        ("a tenth of train, drawn with seed 0", "a tenth of train, drawn with seed 0"),
        (
            "see https://huggingface.co/org/name/blob/main/run.json",
            "see https://huggingface.co/org/name/blob/main/run.json",
        ),
        ("'/home/alice/my data/x.csv'", "'x.csv'"),
        ("from C:\\Users\\alice\\x.csv and D:/work/alice/y.csv", "from x.csv and y.csv"),
        ("/home/alice/my data and more.csv", "my data and more.csv"),
    ],
)
def test_paths_within_text_are_removed(words, expected):
    assert without_places({"a": [words, 1, None]}) == {"a": [expected, 1, None]}


@given(st.text() | st.text(alphabet="/\\~.:ab '\"C-"))
def test_removing_paths_twice_changes_nothing_more(words):
    once = without_places(words)
    assert without_places(once) == once
