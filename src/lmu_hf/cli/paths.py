"""Whether the files and folders that flags name are there: asked before anything that takes seconds is imported."""

import argparse
from pathlib import Path

from ..common.errors import InputError, check_folder, check_model
from ..shipped import manifest, pretrained

READ = ("train_file", "validation_file", "test_file", "extra_train_file", "word_vectors", "load_memory", "sample")
SAVED = ("model", "model_name_or_path")  # folders of saved models, or names that the Hub may know


def check_paths(args: argparse.Namespace) -> None:
    """Refuse what cannot be read, and what cannot be written to; a run folder and the model in it are either given.

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
            model = str(find_in_run(given[name], "config.json"))
            shipped = model in manifest() and not Path(model).exists()
            setattr(args, name, pretrained(model) if shipped else check_model(model))
    if "run" in given:
        if not given["run"].is_dir():
            raise InputError(f"there is no run folder {given['run']}")
        args.run = Path(find_in_run(given["run"], "run.json"))
    checkpoint = given.get("resume_from_checkpoint", "auto")
    if checkpoint != "auto" and not Path(checkpoint).is_dir():
        raise InputError(f"--resume_from_checkpoint {checkpoint} is not a checkpoint: there is no such folder")
    if "output_dir" in given:
        check_folder(given["output_dir"], "output_dir")
    if "output_file" in given:
        check_folder(given["output_file"].parent, "output_file")
    if "folder" in given:
        check_folder(given["folder"], "folder")


def find_in_run(given: str | Path, holds: str) -> str | Path:
    """A run folder and its ``model/`` stand for each other: that of both which holds a file; else what was given.

    Args:
        given: a folder, or a name on the Hub.
        holds: the file: ``config.json`` of a model, ``run.json`` of a run.
    """
    path = Path(given)
    others = [path / "model", *([path.absolute().parent] if path.absolute().name == "model" else [])]
    if not path.is_dir() or (path / holds).is_file():
        return given
    return next((other for other in others if (other / holds).is_file()), given)


def _paths(value: Path | list[Path] | None) -> list[Path]:
    return [] if value is None else value if isinstance(value, list) else [value]
