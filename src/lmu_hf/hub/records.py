"""Run records as cards read them: a run's own must be right, a neighbour's may be none, and none says where."""

import json
import logging
import math
import shlex
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from huggingface_hub.dataclasses import type_validator

from ..common.places import plain_command, without_places
from ..common.record import RunRecord
from .kinds import kind_of
from .links import inside

logger = logging.getLogger(__name__)
SCORES = dict[str, dict[str, float]]
# To Python a whole number in JSON is an int, which the validator refuses in the place of a float.
WIDER: dict[Any, Any] = {float: float | int, SCORES: dict[str, dict[str, float | int]]}
# Fields of `data` that only some kinds of runs have, and the types that they then have.
OPTIONAL: dict[str, Any] = {"rows": dict[str, int], "splits": dict[str, str], "languages": list[str], "tokenizer": str}
OPTIONAL |= {"dataset": str, "dataset_config": str, "example": str | list[str], "title": str}
# Keys that a card reads of every run.
NEEDED: dict[str, dict[str, Any]] = {
    "data": {"name": str},
    "parameters": {"total": int, "trainable": int},
    "hardware": {"machine": str, "threads": int},
}


def own_record(run: Path) -> RunRecord:
    """The record of the run that is published.

    Raises:
        FileNotFoundError: the run has not finished.
        ValueError: the record cannot be read, or is not what a record must be.
    """
    path = inside(run / "run.json", run)
    try:
        return checked(RunRecord.read(run), str(path))
    # JSON that is nested too deep is a RecursionError and no ValueError.
    except (UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not a run record: {error}") from None


def own_rows(run: Path) -> list[dict]:
    """The evaluations of the run that is published, as its ``metrics.jsonl`` holds them.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a line is no evaluation.
    """
    path = inside(run / "metrics.jsonl", run)
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            rows.append(without_places(json.loads(line)))
            type_validator("row", rows[-1], dict[str, Any])
        except (ValueError, TypeError, RecursionError):
            raise ValueError(f"{path}, line {number}: that is no evaluation, which is a JSON object") from None
    return rows


def readable_records(folder: Path) -> Iterator[tuple[Path, RunRecord]]:
    """The runs of a folder and their records; one that cannot be read is left out, and a line of the log says so."""
    for path in sorted(folder.glob("*/run.json")):
        try:
            inside(path, folder)
            yield path.parent, checked(RunRecord.read(path.parent), str(path))
        except (OSError, ValueError, RecursionError) as error:
            logger.warning("%s is left out: %s", path, " ".join(str(error).split()) or type(error).__name__)


def checked(record: RunRecord, name: str) -> RunRecord:
    """A record that holds what cards, pictures and leaderboards read, and nothing of the machine that made it.

    Raises:
        ValueError: a field is not what it must be; the message begins with ``name``.
    """
    try:
        for field in fields(record):
            type_validator(field.name, getattr(record, field.name), WIDER.get(field.type, field.type))
        for field_name, needed in NEEDED.items():
            for key, kind in needed.items():
                type_validator(f"{field_name}[{key!r}]", getattr(record, field_name).get(key), kind)
        for key, kind in OPTIONAL.items():
            if key in record.data:
                type_validator(f"data[{key!r}]", record.data[key], kind)
        _check_details(record)
        # Called for what it raises: it reads the fields that only this kind has.
        kind_of(record).reads(record)
    except KeyError as error:
        raise ValueError(f"{name} is not a run record: it lacks {error}") from None
    except (TypeError, ValueError) as error:
        # The validator names the field; of nested types the reason stands in its cause.
        reasons = [str(error), *([str(error.__cause__)] if error.__cause__ else [])]
        raise ValueError(f"{name} is not a run record: {'; '.join(reasons)}") from None
    if "validation" not in record.metrics:
        raise ValueError(f"{name} is not a run record: metrics lacks 'validation'")
    for split, scores in record.metrics.items():
        if record.metric not in scores:
            raise ValueError(f"{name} is not a run record: metrics[{split!r}] lacks its metric, {record.metric!r}")
        if wrong := [metric for metric, score in scores.items() if not math.isfinite(score)]:
            raise ValueError(f"{name}: the {split} {wrong[0]} is {scores[wrong[0]]}; such a run is not published")
    return _public(record)


def _check_details(record: RunRecord) -> None:
    """What cards read of a split's details, where there are such."""
    for split, details in record.details.items():
        where = f"details[{split!r}]"
        type_validator(where, details, dict[str, Any])
        classes = details.get("classes", {})
        type_validator(f"{where}['classes']", classes, dict[str, dict[str, float | int]])
        for name, row in classes.items():
            if lacking := {"precision", "recall", "f1", "support"} - row.keys():
                raise ValueError(f"{where}['classes'][{name!r}] lacks {sorted(lacking)[0]}")
        if "thresholds" in details:
            type_validator(f"{where}['thresholds']", details["thresholds"], list[float | int])
            if len(details["thresholds"]) != len(classes):
                raise ValueError(f"{where} has {len(details['thresholds'])} thresholds for {len(classes)} classes")


def _public(record: RunRecord) -> RunRecord:
    try:
        command = plain_command(shlex.split(record.command))
    except ValueError:  # an open quotation mark: somebody has written it
        command = record.command
    # A path can stand in any field; the command is only the likeliest.
    return RunRecord(**without_places(asdict(record) | {"command": command}))


def without_example(record: RunRecord) -> RunRecord:
    """A record without the row of its data that a card would show."""
    return replace(record, data={name: value for name, value in record.data.items() if name != "example"})


def as_json(record: RunRecord) -> str:
    """A record as ``run.json`` holds it."""
    return json.dumps(asdict(record), indent=2) + "\n"
