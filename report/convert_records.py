"""Convert the run records of records/ to today's names. Run once after a rename; a second run changes nothing.

python report/convert_records.py records

- A recipe that has a new name: the run's folder, its record and the command in it take the new name.
- A run of an LSTM baseline: its command names the recipe and ``--baseline lstm``.
- A run from before the average of weights started short (commit 12a1d07): its record gets the remark
  "constant-averaging", which the tables and the cards spell out. The project's history is asked, so it must be there.
"""

import argparse
import json
import re
import subprocess
from pathlib import Path

from lmu_hf.training.recipes import get_recipe

RECIPES = {
    # Order 1, theta 1 and Euler's rule: A_bar = 0, so that this model remembers nothing.
    "snli-aligned": "snli-no-memory",
    # Named after the option that they show.
    "qqp-aligned-wide": "qqp-alignment",
    "qqp-aligned-wide-lstm": "qqp-alignment-lstm",
    "snli-aligned-wide": "snli-alignment",
    "snli-aligned-wide-lstm": "snli-alignment-lstm",
    # The field's own words.
    "imdb-tuned": "imdb-fine-tuned",
    "qqp-spelt": "qqp-subword",
    "qqp-spelt-lstm": "qqp-subword-lstm",
    # Two plain LSTM layers are the baseline of the recipes with several windows.
    "ptb-char-lstm-plain": "ptb-char-windows-lstm",
    "text8-lstm-plain-steep": "text8-windows-lstm",
}
SHORT_AVERAGES = "12a1d07"  # the commit since which an average spans at most the steps that there have been
CONSTANT_AVERAGING = "constant-averaging"


def main() -> None:
    """Convert each run folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path, help="a folder of run folders")
    for path in sorted(parser.parse_args().records.glob("*/run.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        converted = add_remarks(rename(record))
        if converted != record:
            path.write_text(json.dumps(converted, indent=2) + "\n", encoding="utf-8")
            print(f"converted {path}")
        folder = path.parent
        if converted["recipe"] != record["recipe"]:
            folder.rename(folder.with_name(folder.name.replace(record["recipe"], converted["recipe"], 1)))


def rename(record: dict) -> dict:
    """A record under its recipe's new name, and the command that trains it today."""
    old = record["recipe"]
    flags = new = RECIPES.get(old, old)
    of = record["baseline_of"]
    if record["baseline"] is not None:
        of = new.removesuffix(f"-{record['baseline']}")
        flags = " ".join([of, f"--baseline {record['baseline']}", *filter(None, [get_recipe(of).reproduction.lstm])])
    command = re.sub(rf"(?<=--recipe ){re.escape(old)}(?= |$)", flags, record["command"])
    return record | {"recipe": new, "command": command, "baseline_of": of}


def add_remarks(record: dict) -> dict:
    """A record that says so if its weights were averaged by the earlier rule."""
    if not record["hyperparameters"].get("averaging") or is_ancestor(SHORT_AVERAGES, record["commit"].rstrip("+")):
        return record
    return record | {"remarks": sorted({*record.get("remarks", []), CONSTANT_AVERAGING})}


def is_ancestor(commit: str, of: str) -> bool:
    """Whether a commit is in another's history.

    Raises:
        CalledProcessError: git does not know one of the two.
    """
    for name in (commit, of):
        subprocess.run(["git", "cat-file", "-e", f"{name}^{{commit}}"], check=True)
    return subprocess.run(["git", "merge-base", "--is-ancestor", commit, of], check=False).returncode == 0


if __name__ == "__main__":
    main()
