"""Where rows come from: a data set's name on the Hub, or a folder laid out like one."""

from pathlib import Path


def load_rows(
    name: str,
    data_dir: Path | None = None,
    needed: tuple[str, ...] = ("train",),
    columns: tuple[str, ...] = (),
    config: str | None = None,
):
    """A data set's splits, as `datasets` gives them, with what is needed of them known to be there.

    Args:
        name: of the data set, on the Hub or below ``data_dir``.
        data_dir: a folder of data sets; None for the Hub.
        needed: splits that must be there.
        columns: columns that each of them must have.
        config: which of its configurations. A folder of data sets has it as a folder within the data set's, whose
            README.md may say which of its files are which split.

    Raises:
        FileNotFoundError: the folder does not hold it.
        ValueError: it cannot be read, or lacks a split or a column.
    """
    from datasets import load_dataset

    source = name
    if data_dir is not None:
        folder = (data_dir / name / (config or "")).resolve()
        if not folder.is_dir():
            raise FileNotFoundError(f"no folder {str(folder)!r}: --data_dir must hold it; leave it out for the Hub")
        if config is not None and (folder.parent / "README.md").is_file():
            folder = folder.parent
        else:
            config = None
        source = str(folder)
    try:
        rows = load_dataset(source, config)
    except (
        OSError,
        ValueError,
    ) as error:  # nothing there, no way to the Hub, or no such files
        raise ValueError(f"{source} cannot be read: {error}") from error
    for split in needed:
        if split not in rows:
            raise ValueError(f"{name} must have a split {split!r}; it has {', '.join(rows)}")
        if missing := set(columns) - set(rows[split].column_names):
            there = ", ".join(rows[split].column_names)
            raise ValueError(f"{name} must have a column {sorted(missing)[0]!r} in {split!r}; it has {there}")
    return rows
