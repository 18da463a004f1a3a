"""Where running text comes from: Python's own sources, text files, or any data set with a column of text."""

import sysconfig
from hashlib import sha256
from pathlib import Path

from ...data.corpus import Corpus, count_characters, dataset_rows, find_files, held_out, table_rows, text_rows
from ...data.opening import is_table
from ...data.sources import SPLITS, hub_name
from ...data.tables import ReadOptions
from .text import TextTask

NOT_SOURCES = {"test", "tests", "site-packages", "dist-packages", "idlelib", "lib2to3", "ensurepip", "turtledemo"}


def python_sources(**how) -> TextTask:
    """The source files of the running Python's own standard library, split by file: 90 / 5 / 5.

    Tests and what is installed beside the library are left out. Another version of Python has other files, so a
    record's fingerprint says which were read.
    """
    root = Path(sysconfig.get_path("stdlib"))
    texts: dict[str, list[str]] = {split: [] for split in SPLITS}
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if NOT_SOURCES.isdisjoint(name.parts):
            # By a hash of the name: a file stays in its split whatever other files there are.
            place = sha256(name.as_posix().encode()).digest()[0] % 20
            split = {0: "validation", 1: "test"}.get(place, "train")
            texts[split].append(path.read_text(encoding="utf-8", errors="strict"))
    task = TextTask("the Python standard library", dict(texts), **how)
    task.example = "def read(self, size"
    return task


def text_files(
    files: dict[str, Path],
    text_column: str = "text",
    hold_out: float | None = None,
    options: ReadOptions | None = None,
    **how,
) -> TextTask:
    """Files or folders of them, one per split: of text, or with rows that have a column of it, compressed or not.

    Without a file for validation, ``hold_out`` of the training text validates: its end, or of a table rows drawn at
    random. Where that is None either, it is a twentieth of a table; of a text it is the last tenth, the second half of
    which is the test if there is no file for that.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: a file is empty or cannot be read, or the share leaves nothing on one side.
    """
    options = options or ReadOptions()
    found = {split: find_files(path, f"{split}_file") for split, path in files.items()}
    name = next(iter(files.values())).name
    tables = {split: is_table(paths[0]) for split, paths in found.items()}
    if len(set(tables.values())) > 1:
        raise ValueError(f"the files of {name} must all be tables or all be texts: {_said(tables)}")
    if all(tables.values()):  # split by rows
        rows = table_rows(files, text_column, options)
        if "train" in rows and "validation" not in rows:
            rows |= held_out(rows["train"], hold_out or 0.05)
        return TextTask(name, {split: Corpus(rows[split]) for split in SPLITS if split in rows}, **how)
    places = _text_places(found, hold_out, options.encoding)
    for split, (_, begin, end) in places.items():
        if begin == end:
            raise ValueError(f"the {split} split of {name} holds no text")
    # No separator: pieces of a file hold their own line breaks.
    texts: dict[str, Corpus | list[str]] = {
        split: Corpus(text_rows(*place, encoding=options.encoding), "") for split, place in places.items()
    }
    return TextTask(name, texts, **how)


def _said(tables: dict[str, bool]) -> str:
    return ", ".join(f"--{split}_file is {'a table' if table else 'a text'}" for split, table in tables.items())


def _text_places(
    found: dict[str, list[Path]], hold_out: float | None, encoding: str | None
) -> dict[str, tuple[list[Path], int, int]]:
    """The files of each split, and the characters of them from which to which it goes."""
    # Characters, not bytes, or a cut could fall within one.
    sizes = {split: count_characters(paths, encoding) for split, paths in found.items()}
    places = {split: (found[split], 0, size) for split, size in sizes.items()}
    if "train" in found and "validation" not in found:
        # In one stretch each, from the end: random pieces of one text would be known from their neighbours.
        validates = 1 - (hold_out or 0.1)
        shares = [0, validates, 1] if hold_out or "test" in found else [0, 0.9, 0.95, 1]
        cuts = [round(sizes["train"] * share) for share in shares]
        stretches = zip(SPLITS, cuts[:-1], cuts[1:], strict=False)  # of two stretches, none is the test
        places |= {split: (found["train"], begin, end) for split, begin, end in stretches}
    return {split: places[split] for split in SPLITS if split in places}


def text_dataset(
    name: str,
    data_dir: Path | None = None,
    text_column: str = "text",
    config: str | None = None,
    train_split: str = "train",
    validation_split: str = "validation",
    test_split: str = "test",
    hold_out: float | None = None,
    **how,
) -> TextTask:
    """A data set's column of text, by Hub name or from a folder of data sets; its rows are joined by line breaks.

    Args:
        name: of the data set.
        data_dir: a folder of data sets; None for the Hub.
        text_column: what its column of text is called.
        config: which of its configurations.
        train_split: which of its splits to train on; several as ``"train+unsupervised"``.
        validation_split: which to judge by.
        test_split: which to test on, if it is there; ``""`` for none.
        hold_out: judge by this share of the training rows instead, drawn at random.
        how: further arguments of :class:`TextTask`.

    Raises:
        FileNotFoundError: the folder does not hold it.
        ValueError: it lacks a split or the column.
    """
    splits = {"train": train_split, "validation": validation_split, "test": test_split}
    rows = dataset_rows(name, data_dir, {s: n for s, n in splits.items() if n}, text_column, config, hold_out)
    task = TextTask(name, {split: Corpus(rows[split]) for split in SPLITS if split in rows}, **how)
    task.dataset, task.dataset_config = hub_name(name, data_dir), config
    return task
