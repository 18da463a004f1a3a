"""The one table of the README: our figure on each task beside what else there is for it."""

from dataclasses import dataclass

from lmu_hf.common.record import RunRecord
from lmu_hf.hub import markup
from table import mean_score

HEADER = ["task", "this project", "LSTM baseline", "classical model", "the paper", "best published"]


@dataclass(frozen=True)
class Headline:
    """One row.

    Args:
        task: what is measured, and in which unit.
        recipe: of this project's model; its figure is read from its records.
        digits: behind the point.
        lstm: the recipe of the LSTM baseline that was trained here.
        published_lstm: a published figure of an LSTM, where none was trained here.
        classical: a published figure of a linear model or the like, or the name of a compressor in the records.
        paper: Chilkuri and Eliasmith's figure, where we have their article's own.
        best: the best published figure that we know, and whose it is.
    """

    task: str
    recipe: str
    digits: int
    lstm: str | None = None
    published_lstm: str = "–"
    classical: str = "–"
    paper: str = "–"
    best: str = "–"


def _published(figure: str) -> str:
    return f"{figure} (published)"


HEADLINES = (
    Headline(
        task="psMNIST, %",
        recipe="psmnist",
        digits=2,
        published_lstm=_published("89.86"),
        classical="99.06 (maxout MLP)",
        paper="98.49",
        best="99.10 (SMPConv)",
    ),
    Headline(
        task="Mackey-Glass, NRMSE",
        recipe="mackey-glass",
        digits=4,
        lstm="mackey-glass-lstm",
        best="0.045 (LMU-LSTM hybrid)",
    ),
    Headline(
        task="IMDB, with unlabelled text, %",
        recipe="imdb-fine-tuned",
        digits=1,
        published_lstm=_published("92.88"),
        classical="91.2 (NB-SVM)",
        paper="93.20",
        best="95.4 (ULMFiT)",
    ),
    Headline(task="QQP, 12,600 training pairs, %", recipe="qqp-alignment", digits=1, lstm="qqp-alignment-lstm"),
    Headline(task="SNLI, 9,842 training pairs, %", recipe="snli-alignment", digits=1, lstm="snli-alignment-lstm"),
    Headline(
        task="Penn Treebank, bits per character",
        recipe="ptb-char-windows",
        digits=3,
        lstm="ptb-char-lstm",
        classical="xz, after the training text",
        best="1.24 (HM-LSTM)",
    ),
    Headline(
        task="Multi30k, English to German, BLEU",
        recipe="multi30k",
        digits=1,
        lstm="multi30k-lstm",
        best="39 (transformer)",
    ),
)


def headline_table(records: list[RunRecord], classical: list[dict], more: list[list[str]]) -> str:
    """The README's table: means over seeds on the test split, of the first order of pixels.

    Args:
        records: of runs.
        classical: what ``report/classical.py`` measured, on rows that a fingerprint names.
        more: rows of other tables.

    Raises:
        ValueError: a row's recipe has no record.
    """
    rows = []
    linear = {row["fingerprint"]: row["test"] for row in classical}
    for line in HEADLINES:
        ours = _runs(records, line.recipe)
        lstm = mean_score(_runs(records, line.lstm), "test", line.digits) if line.lstm else line.published_lstm
        score = mean_score(ours, "test", line.digits)
        rows.append([line.task, score, lstm, _classical(line, ours[0], linear), line.paper, line.best])
    return markup.table(HEADER, [*rows, *more])


def _classical(line: Headline, record: RunRecord, linear: dict[str, float]) -> str:
    """The figure of tf-idf on the same rows, of a compressor on the same text, or the published one of a model."""
    if (accuracy := linear.get(record.data["fingerprint"])) is not None:
        return f"{100 * accuracy:.{line.digits}f} (tf-idf)"
    bits = record.data.get("compressors", {}).get(line.classical)
    return line.classical if bits is None else f"{bits:.3f} ({line.classical.partition(',')[0]})"


def _runs(records: list[RunRecord], recipe: str) -> list[RunRecord]:
    found = [run for run in records if run.recipe == recipe and not run.architecture.get("permutation_seed")]
    if not found:
        raise ValueError(f"no record is of the recipe {recipe!r}, which a row of the README is made of")
    return found
