"""The commands of the guides do what the pages say: blocks of them are run as they stand, on files of their kinds."""

import re
import shlex
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from script_runs import run_command

DOCS = Path(__file__).parents[1] / "docs"
WRITERS: dict[str, Callable[[Path], None]] = {}
pytestmark = pytest.mark.ecosystem


@dataclass(frozen=True)
class Block:
    """A shell block of a page.

    Args:
        page: below docs/.
        begins: its first words.
        leaves: files and folders that it writes, and that a reader looks for.
        skips: commands of it that are not run, by a word of theirs: they need a network or much time.
        short: what is added to a command that trains, so that it takes seconds.
    """

    page: str
    begins: str
    leaves: tuple[str, ...] = ()
    skips: tuple[str, ...] = ()
    short: str = ""


SHORT = "--num_train_epochs 1"
BLOCKS = (
    Block(
        "start/command.md",
        "lmu-hf train text --train_file reviews.csv",
        ("runs/reviews/run.json", "labels.csv", "reviews-onnx/model.onnx"),
        short=SHORT,
    ),
    Block("start/command.md", "lmu-hf --help"),
    Block("start/pretrained.md", "lmu-hf generate", ("digits.csv",), skips=("evaluate", "recordings")),
    Block("guides/streaming.md", "lmu-hf generate", ("talk.safetensors", "later.safetensors")),
    Block(
        "guides/regression_and_multi_label.md",
        "lmu-hf train text --train_file prices.csv",
        ("runs/prices-seed0/model", "runs/tickets-seed0/model", "runs/comments-seed0/model"),
        short=SHORT,
    ),
    Block(
        "guides/forecasts.md",
        "lmu-hf train forecast --train_file power.csv --prediction_length 96",
        ("runs/power-seed0/figures/forecasts.png", "ahead.csv", "ahead.png", "forecast.csv"),
    ),
    Block(
        "guides/series.md",
        "lmu-hf train series --train_file walks.csv --id_column walk --time_column second",
        ("runs/walks-seed0/run.json", "labels.csv"),
    ),
    Block("concepts/theta_and_order.md", "lmu-hf suggest", ("load.png",)),
    Block("guides/training.md", "make reproduce", skips=("make",)),
)


def write(name: str) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    """Enter a function that writes the file, or the folder, of this name."""

    def enter(writer: Callable[[Path], None]) -> Callable[[Path], None]:
        WRITERS[name] = writer
        return writer

    return enter


def texts(rows: int) -> list[str]:
    moods, things = ("great", "fine", "dull", "weak"), ("film", "plot", "cast", "music", "ending")
    return [f"the {things[row % 5]} was {moods[row % 4]} and long" for row in range(rows)]


@write("reviews.csv")
def _(path: Path) -> None:
    rows = texts(120)
    stars = ["good" if "great" in row or "fine" in row else "bad" for row in rows]
    pd.DataFrame({"review": rows, "stars": stars}).to_csv(path, index=False)


@write("new.csv")
def _(path: Path) -> None:
    pd.DataFrame({"review": texts(4)}).to_csv(path, index=False)


@write("prices.csv")
def _(path: Path) -> None:
    pd.DataFrame({"text": texts(120), "label": [f"{row % 4}.5" for row in range(120)]}).to_csv(path, index=False)


@write("tickets.csv")
def _(path: Path) -> None:
    topics = [("praise", "praise;film", "blame", "blame;film")[row % 4] for row in range(120)]
    pd.DataFrame({"text": texts(120), "topics": topics}).to_csv(path, index=False)


@write("comments.csv")
def _(path: Path) -> None:
    flags = {"toxic": [row % 2 for row in range(120)], "rude": [int(row % 4 == 3) for row in range(120)]}
    pd.DataFrame({"text": texts(120), **flags}).to_csv(path, index=False)


@write("scans")
def _(path: Path) -> None:
    path.mkdir()
    stroke = np.zeros((28, 28), np.uint8)
    stroke[4:24, 13:16] = 255
    for number in range(2):
        Image.fromarray(stroke).save(path / f"{number}.png")


def hours(start: str, steps: int, name: str) -> pd.DataFrame:
    wave = 10 + np.sin(2 * np.pi * np.arange(steps) / 24) + 0.1 * np.random.default_rng(0).normal(size=steps)
    return pd.DataFrame({"time": pd.date_range(start, periods=steps, freq="h"), name: wave})


@write("power.csv")
def _(path: Path) -> None:
    hours("2025-01-01", 2500, "load").to_csv(path, index=False)


@write("later.csv")
def _(path: Path) -> None:
    hours("2025-06-01", 1200, "load").to_csv(path, index=False)


@write("load.csv")
def _(path: Path) -> None:
    hours("2025-01-01", 2000, "OT").to_csv(path, index=False)


@write("recording.wav")
def _(path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes((8000 * np.sin(np.arange(8000) / 20)).astype("<i2").tobytes())


def walks(first: int, number: int, labelled: bool = True) -> pd.DataFrame:
    random, rows = np.random.default_rng(first), []
    for walk in range(first, first + number):
        pace = 3.0 if walk % 2 else 8.0
        for step in range(40):
            values = np.sin(step / pace) + 0.1 * random.normal(), np.cos(step / pace)
            rows.append((walk, step / 10, *values, "ada" if walk % 2 else "grace"))
    table = pd.DataFrame(rows, columns=["walk", "second", "x", "y", "person"])
    return table if labelled else table.drop(columns="person")


@write("walks.csv")
def _(path: Path) -> None:
    walks(0, 30).to_csv(path, index=False)


@write("new_walks.csv")
def _(path: Path) -> None:
    walks(100, 8).to_csv(path, index=False)


@write("more.csv")
def _(path: Path) -> None:
    walks(200, 8).to_csv(path, index=False)


@write("unlabelled.csv")
def _(path: Path) -> None:
    walks(300, 4, labelled=False).to_csv(path, index=False)


def lines_of(block: Block) -> list[str]:
    """The commands of a block, as they stand on its page."""
    page = (DOCS / block.page).read_text(encoding="utf-8")
    found = next(text for text in re.findall(r"```bash\n(.*?)```", page, re.DOTALL) if text.startswith(block.begins))
    return [line for line in found.replace("\\\n", " ").splitlines() if line.strip()]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{Path(block.page).stem}: {block.begins}")
def test_a_block_of_a_guide_runs(block, tmp_path):
    for line in lines_of(block):
        words = shlex.split(line, comments=True)
        if any(word in block.skips for word in words):
            continue
        for name in {*words} & {*WRITERS}:
            if not (tmp_path / name).exists():
                WRITERS[name](tmp_path / name)
        run_command([*words, *(shlex.split(block.short) if words[1] == "train" else [])], tmp_path)
    for name in block.leaves:
        assert (tmp_path / name).exists(), f"{block.page}: there is no {name}"
