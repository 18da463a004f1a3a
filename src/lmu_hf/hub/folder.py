"""A run folder becomes the folder that a push sends, ``<run>/hub/``: the same bytes every time, and no pickle in it."""

import json
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import cast

from huggingface_hub import eval_result_entries_to_yaml
from huggingface_hub.utils import validate_repo_id, yaml_dump
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import PreTrainedConfig, PreTrainedModel

import lmu_hf

from .. import modeling_lmu, modeling_lmu_seq2seq, modeling_lstm, pipeline_lmu
from ..common.figures import example_digit, learning_curve
from ..common.finite import first_not_finite
from ..common.lock import owned
from ..common.record import RunRecord
from ..common.staging import folder_written_whole
from ..remote_code import reference, references
from .card import Shown, leaderboard_entries, model_name, render, slug
from .kinds import BY_HEAD
from .links import inside
from .records import as_json, own_rows, without_example
from .scanning import refuse_secrets

PACKAGE = Path(__file__).parents[1]
HEADS: dict[str, type[lmu_hf.LMUPreTrainedModel]] = {head: getattr(lmu_hf, head) for head in BY_HEAD}
BODIES: dict[tuple[str, bool], type[PreTrainedModel]] = {  # by type, and by whether there are two stacks
    ("lmu", False): modeling_lmu.LMUModel,
    ("lmu", True): modeling_lmu_seq2seq.LMUEncoderDecoderModel,
    ("lmu_lstm", False): modeling_lstm.LSTMModel,
    ("lmu_lstm", True): modeling_lstm.LSTMEncoderDecoderModel,
}
MODEL_FILES = ("model.safetensors", "model-[0-9]*-of-[0-9]*.safetensors", "model.safetensors.index.json", "config.json",
               "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
               "added_tokens.json", "preprocessor_config.json", "chat_template.jinja")  # fmt: skip
# What a push takes for its own in a repository, and deletes where this run has no such file: pickles too, which it
# never writes.
OWNED = ("*.safetensors", "*.json", "*.jsonl", "*.py", "*.bin", "*.pt", "figures/*", ".eval_results/*")


def build(run: Path, repo_id: str | None = None, history: Sequence[RunRecord] = (), example: bool = True) -> Path:
    """Lay out ``<run>/hub/``: exactly what a push sends.

    Args:
        run: a finished run folder.
        repo_id: ``org/name``, which the card's examples load.
        history: records of what the repository held before, the oldest first.
        example: show the row of the data that a record may hold; else one that is made up, and no record has it.

    Raises:
        FileNotFoundError: the run has not finished, or has no model.
        ValueError: the repository's name is none; the model is of no kind that can be pushed, or its weights are not
            finite; a file is never pushed, is a link that leads out of the run folder, or holds what looks like a
            secret.
        RunFolderError: another process writes to the run folder.
    """
    if repo_id is not None:
        validate_repo_id(repo_id)
    run = run.resolve()
    with owned(run):
        return _build(run, repo_id, history, example)


def _build(run: Path, repo_id: str | None, history: Sequence[RunRecord], example: bool) -> Path:
    shown = Shown.beside(run, history)
    if not example:
        plain = [without_example(record) for record in shown.history]
        shown = replace(shown, record=without_example(shown.record), history=plain)
    # Read for its checks alone: a damaged file is named before anything is laid out.
    own_rows(run)
    refuse_secrets({name: run / name for name in ("run.json", "metrics.jsonl")})  # what is hidden below is to be known
    folder = run / "hub"
    for place in (folder, run / "hub.partial"):
        if place.is_symlink():
            raise ValueError(f"{place} is a link: remove it, a folder is laid out in its place")
    # An earlier hub/ stays until all of this one is there.
    with folder_written_whole(folder) as staged:
        staged.mkdir()
        _copy_model(run, staged)
        _complete_config(staged)
        _copy_figures(run, shown.record, staged / "figures")
        _write_records(run, shown, staged)
        name = model_name(run)
        (staged / "README.md").write_text(str(render(shown, name, repo_id)).rstrip() + "\n", encoding="utf-8")
        if entries := leaderboard_entries(shown.record, repo_id or f"org/{name}"):
            results = staged / ".eval_results" / f"{slug(shown.record.data['name']) or 'results'}.yaml"
            results.parent.mkdir()
            results.write_text(yaml_dump(eval_result_entries_to_yaml(entries)), encoding="utf-8")
        # Again, of all that is sent: tokenizers and configs among it.
        refuse_secrets(files_of(staged))
    return folder


def files_of(folder: Path) -> dict[str, Path]:
    """Every file below a folder, by its path in a repository, in order.

    Raises:
        ValueError: a link leads out of the folder.
    """
    files = [inside(path, folder) for path in sorted(folder.rglob("*"))]
    return {path.relative_to(folder).as_posix(): path for path in files if path.is_file()}


def modules_of(names: Iterable[str]) -> list[Path]:
    """The package's flat modules that some of them need, by following ``from .name import``."""
    found: dict[str, Path] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found[name] = PACKAGE / f"{name}.py"
        # Indented imports count too, as they do for transformers when it collects the files of remote code.
        waiting += re.findall(r"^\s*from \.(\w+) import", found[name].read_text(encoding="utf-8"), re.MULTILINE)
    return [found[name] for name in sorted(found)]


def _copy_model(run: Path, staged: Path) -> None:
    model = inside(run / "model", run)
    if not inside(model / "config.json", run).is_file():
        raise FileNotFoundError(f"{model} holds no config.json: there is no model to push")
    there = sorted(model.iterdir())
    known = {path for path in there if path.is_file() and any(fnmatchcase(path.name, name) for name in MODEL_FILES)}
    unknown = [path.name for path in there if path not in known]
    if unknown:
        raise ValueError(
            f"{model} holds {', '.join(unknown)}, which is never pushed: keep only {', '.join(MODEL_FILES)} there"
        )
    if not any(path.suffix == ".safetensors" for path in there):
        raise FileNotFoundError(f"{model} holds no safetensors: there are no weights to push")
    for path in there:
        # The copy of a link is a file: a folder from the Hub's cache is made of links.
        copy = shutil.copyfile(inside(path, run), staged / path.name)
        if copy.suffix == ".safetensors":
            _check_weights(copy, path)


def _check_weights(copy: Path, path: Path) -> None:
    """A file of weights is whole, and every number in it is finite."""
    try:
        name = first_not_finite(load_file(copy))  # what is sent, which the run can no longer change
    except SafetensorError as error:
        raise ValueError(f"{path} is not pushed: it is damaged ({error})") from None
    if name is not None:
        raise ValueError(f"{path} is not pushed: {name} holds numbers that are not finite")


def _complete_config(staged: Path) -> None:
    """Say in ``config.json`` which class of which module answers for which Auto class, and bring those modules."""
    path = staged / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    head = next((name for name in config.get("architectures") or [] if name in HEADS), None)
    if head is None or config.get("model_type") != _config_class(HEADS[head]).model_type:
        raise ValueError(f"architectures must name one of {', '.join(HEADS)}, got {config.get('architectures')}")
    head_class = HEADS[head]
    decodes = config.get("is_encoder_decoder", False)
    body = BODIES[config["model_type"], decodes]
    config.pop("_name_or_path", None)  # where older versions of transformers say that a model was loaded from
    config["auto_map"] = references(_config_class(head_class), body, head_class)
    needed = [place.partition(".")[0] for place in config["auto_map"].values()]
    if decodes:
        # Transformers no longer has a translation pipeline that a card could name.
        impl = pipeline_lmu.LMUTranslationPipeline
        config["custom_pipelines"] = {
            "lmu-translation": {"impl": reference(impl), "pt": [head_class.loaded_by], "type": "text"}
        }
        needed.append(_module(impl))
    if (extractor := _complete_extractor(staged)) is not None:
        needed.append(extractor)
    # Sorted, so that the same run gives the same bytes and a second push no new commit.
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for module in modules_of(needed):
        shutil.copyfile(module, staged / module.name)


def _complete_extractor(staged: Path) -> str | None:
    """Say in a feature extractor's file which class of which module it is; that module, or None if there is none."""
    path, kind = staged / "preprocessor_config.json", lmu_hf.LMUFeatureExtractor
    said = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if said.get("feature_extractor_type") != kind.__name__:
        return None
    said["auto_map"] = {"AutoFeatureExtractor": reference(kind)}
    path.write_text(json.dumps(said, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return _module(kind)


def _config_class(model: type[PreTrainedModel]) -> type[PreTrainedConfig]:
    return cast(type[PreTrainedConfig], model.config_class)


def _module(target: type) -> str:
    return reference(target).partition(".")[0]


def _copy_figures(run: Path, record: RunRecord, figures: Path) -> None:
    figures.mkdir()
    own = inside(run / "figures", run)
    curve = inside(own / "learning_curve.png", run)
    if not curve.is_file():
        learning_curve(run, curve)
    for picture in sorted(own.glob("[!.]*.png")):
        shutil.copyfile(inside(picture, run), figures / picture.name)
        # The eight bytes that every PNG begins with.
        if not (figures / picture.name).read_bytes().startswith(b"\x89PNG\r\n\x1a\n"):
            raise ValueError(f"{picture} is not pushed: it is no picture of the kind that its name says")
    if record.task == "image-classification":
        example_digit(record.architecture["image_size"], figures / "example.png")


def _write_records(run: Path, shown: Shown, staged: Path) -> None:
    (staged / "run.json").write_text(as_json(shown.record), encoding="utf-8")
    rows = "".join(json.dumps(row) + "\n" for row in own_rows(run))
    (staged / "metrics.jsonl").write_text(rows, encoding="utf-8")
    if shown.history:
        earlier = [asdict(record) for record in shown.history]
        (staged / "history.json").write_text(json.dumps(earlier, indent=2) + "\n", encoding="utf-8")
