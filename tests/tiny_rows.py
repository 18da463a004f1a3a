"""Data sets of a few rows, as files in a folder."""

from pathlib import Path

from datasets import ClassLabel, Dataset

TWO = ClassLabel(names=["no", "yes"])


def write(folder: Path, split: str, rows: dict[str, list], label: object = TWO) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    made = Dataset.from_dict(rows).cast_column("label", label)
    made.to_parquet(folder / f"{split}-00000-of-00001.parquet")


def sentences(n: int, begin: int = 0, name: str = "sentence") -> dict[str, list]:
    return {name: [f"number {i} of many" for i in range(begin, begin + n)], "label": [i % 2 for i in range(n)]}
