"""Whether the files and folders that flags name are there: asked before anything that takes seconds is imported."""

import argparse
from pathlib import Path

from ..common.errors import InputError, check_folder, check_model

READ = ("train_file", "validation_file", "test_file", "extra_train_file", "word_vectors", "load_memory")
SAVED = ("model", "model_name_or_path")  # folders of saved models, or names that the Hub may know


def check_paths(args: argparse.Namespace) -> None:
    """Refuse what cannot be read, and what cannot be written to.

    Raises:
        InputError: the message names the flag and the path.
    """
    given = {name: value for name, value in vars(args).items() if value is not None}
    for name in READ:
        for path in _paths(given.get(name)):
            if not path.exists():
                raise InputError(f"--{name} {path}: there is no such file")
    if "data_dir" in given and not given["data_dir"].is_dir():
        raise InputError(f"--data_dir {given['data_dir']}: there is no such folder")
    for name in SAVED:
        if name in given:
            check_model(given[name])
    if "run" in given and not given["run"].is_dir():
        raise InputError(f"there is no run folder {given['run']}")
    checkpoint = given.get("resume_from_checkpoint", "auto")
    if checkpoint != "auto" and not Path(checkpoint).is_dir():
        raise InputError(f"--resume_from_checkpoint {checkpoint} is not a checkpoint: there is no such folder")
    if "output_dir" in given:
        check_folder(given["output_dir"], "output_dir")
    if "output_file" in given:
        check_folder(given["output_file"].parent, "output_file")
    if "folder" in given:
        check_folder(given["folder"], "folder")


def _paths(value: Path | list[Path] | None) -> list[Path]:
    return [] if value is None else value if isinstance(value, list) else [value]
