"""The README's quick starts do what they say: each block is run, on files of the kinds that it names."""

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from script_runs import run_command

soundfile = pytest.importorskip("soundfile")

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SECTION = README.split("## Quick starts")[1].split("\n## ")[0]
BLOCKS = dict(re.findall(r"\*\*(.*?)\.\*\*.*?```\n(.*?)```", SECTION, re.DOTALL))
RATE = 8000


def run_line(line: str, folder: Path) -> str:
    """One command of the README; what it printed."""
    return run_command(shlex.split(line, comments=True), folder)


def write_texts(folder: Path) -> None:
    rows = [
        (f"the {what} was {how} and I would {more} it again", stars)
        for what in ("film", "plot", "cast", "ending", "music", "story")
        for how, more, stars in (
            ("great", "see", 5),
            ("fine", "watch", 5),
            ("awful", "never watch", 1),
            ("dull", "skip", 1),
        )
    ]
    reviews = pd.DataFrame(rows * 5, columns=["review", "stars"])
    reviews.to_csv(folder / "reviews.csv", index=False)
    reviews[["review"]].head(3).to_csv(folder / "new.csv", index=False)


def write_sounds(folder: Path) -> None:
    random = np.random.default_rng(0)
    for label, pitch in (("low", 200), ("high", 900)):
        (folder / "recordings" / label).mkdir(parents=True)
        for number in range(10):
            length = random.integers(RATE // 4, RATE // 2)
            sound = 0.3 * np.sin(2 * np.pi * pitch * np.arange(length) / RATE) + 0.01 * random.normal(size=length)
            soundfile.write(folder / "recordings" / label / f"{number}.wav", sound, RATE)


def write_series(folder: Path) -> None:
    hours = pd.date_range("2025-01-01", periods=1500, freq="h")
    load = 10 + np.sin(2 * np.pi * np.arange(1500) / 24) + 0.1 * np.random.default_rng(0).normal(size=1500)
    pd.DataFrame({"time": hours, "load": load}).to_csv(folder / "power.csv", index=False)


def test_the_readme_has_its_four_quick_starts():
    assert list(BLOCKS) == ["Use a trained model", "Classify texts", "Classify sounds", "Forecast"]
    assert all(len(block.splitlines()) <= 10 for block in BLOCKS.values())


@pytest.mark.slow
def test_use_a_trained_model(tmp_path):
    write_texts(tmp_path)
    label, generate = BLOCKS["Use a trained model"].splitlines()
    run_line(label, tmp_path)
    assert list(pd.read_csv(tmp_path / "moods.csv")["label"])[:4] == ["pos", "pos", "neg", "neg"]
    assert run_line(generate, tmp_path).startswith("def main(")


@pytest.mark.slow
def test_classify_texts(tmp_path):
    write_texts(tmp_path)
    train, label = BLOCKS["Classify texts"].splitlines()
    assert "recipe made by the rows" in run_line(train, tmp_path)
    run_line(label, tmp_path)
    assert list(pd.read_csv(tmp_path / "labels.csv")["label"]) == [5, 5, 1]


@pytest.mark.slow
def test_classify_sounds(tmp_path):
    write_sounds(tmp_path)
    train, label = BLOCKS["Classify sounds"].splitlines()
    run_line(f"{train} --max_train_steps 60", tmp_path)
    run_line(label, tmp_path)
    heard = pd.read_csv(tmp_path / "heard.csv")
    assert len(heard) == 20 and set(heard["label"]) <= {"low", "high"}


@pytest.mark.slow
def test_forecast(tmp_path):
    write_series(tmp_path)
    train, forecast = BLOCKS["Forecast"].splitlines()
    run_line(train, tmp_path)
    run_line(forecast, tmp_path)
    ahead = pd.read_csv(tmp_path / "tomorrow.csv", parse_dates=["time"])
    assert len(ahead) == 24 and ahead["time"].iloc[0] == pd.Timestamp("2025-03-04 12:00")
    wave = 10 + np.sin(2 * np.pi * (1500 + np.arange(24)) / 24)
    assert np.abs(ahead["load"] - wave).max() < 0.3
