"""Data sets of a few rows, as files in a folder and as labelled text."""

from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset, Value

from lmu_hf.data.labels import LabelledText

TWO = ClassLabel(names=["no", "yes"])


def write(folder: Path, split: str, rows: dict[str, list], label: object = TWO) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    made = Dataset.from_dict(rows).cast_column("label", label)
    made.to_parquet(folder / f"{split}-00000-of-00001.parquet")


def sentences(n: int, begin: int = 0, name: str = "sentence") -> dict[str, list]:
    return {name: [f"number {i} of many" for i in range(begin, begin + n)], "label": [i % 2 for i in range(n)]}


GOOD, BAD, FILLING = ("fine", "great", "lovely"), ("poor", "awful", "dull"), ("film", "plot", "cast", "end", "music")


def opinions(rows: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Texts that one word decides, among words that say nothing."""
    draw = np.random.default_rng(seed)
    labels = np.arange(rows) % 2
    texts = [" ".join(draw.permutation([*draw.choice(FILLING, 4), draw.choice((BAD, GOOD)[n])])) for n in labels]
    return texts, labels


def labelled(rows: int = 120, numbers: bool = False) -> LabelledText:
    """Opinions in three splits; as numbers, those of each class are alike."""
    splits = {}
    for seed, split in enumerate(("train", "validation", "test")):
        texts, labels = opinions(rows, seed)
        if split == "validation":  # some labels are wrong, so that neither part is to be quite sure
            labels = np.where(np.arange(rows) % 5, labels, 1 - labels)
        told = [1000.0 * label + 5 for label in labels] if numbers else labels.tolist()
        splits[split] = Dataset.from_dict({"text": texts, "label": told})
        if numbers:
            splits[split] = splits[split].cast_column("label", Value("float32"))
    how = {"problem_type": "regression", "metrics": ("r2", "mae")} if numbers else {"metrics": ("accuracy",)}
    names = None if numbers else ["bad", "good"]
    return LabelledText("some.csv", splits, names, dict.fromkeys(splits, "here"), **how)
