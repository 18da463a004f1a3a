"""A run folder becomes the folder that a push sends, ``<run>/hub/``: the same bytes every time, and no pickle in it."""

import json
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from huggingface_hub import eval_result_entries_to_yaml
from huggingface_hub.utils import yaml_dump
from safetensors.torch import load_file
from transformers import PreTrainedModel

from .. import heads_lmu, modeling_lmu, modeling_lmu_seq2seq, pipeline_lmu
from ..configuration_lmu import LMUConfig
from ..training.finite import first_not_finite
from ..training.record import RunRecord
from ..training.run_folder import owned
from .card import Shown, leaderboard_entries, model_name, render
from .figures import example_digit, learning_curve

PACKAGE = Path(__file__).parents[1]
HEADS: dict[str, tuple[str, type[PreTrainedModel]]] = {
    head.__name__: (auto_class, head)
    for auto_class, head in (
        ("AutoModelForCausalLM", modeling_lmu.LMUForCausalLM),
        ("AutoModelForSeq2SeqLM", modeling_lmu_seq2seq.LMUForConditionalGeneration),
        ("AutoModelForSequenceClassification", heads_lmu.LMUForSequenceClassification),
        ("AutoModelForSequenceClassification", heads_lmu.LMUForSequencePairClassification),
        ("AutoModelForImageClassification", heads_lmu.LMUForImageClassification),
        ("AutoModelForTimeSeriesPrediction", heads_lmu.LMUForTimeSeriesPrediction),
    )
}
MODEL_FILES = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", "tokenizer.json",
               "tokenizer_config.json", "preprocessor_config.json", "chat_template.jinja")  # fmt: skip
OWNED = ("*.safetensors", "*.json", "*.jsonl", "*.py", "*.bin", "*.pt", "figures/*", ".eval_results/*")
SECRET = re.compile(r"hf_[A-Za-z0-9]{20,}")
TEXT = (".json", ".jsonl", ".md", ".py", ".yaml", ".jinja")


def build(run: Path, repo_id: str | None = None, history: Sequence[RunRecord] = ()) -> Path:
    """Lay out ``<run>/hub/``: exactly what a push sends.

    Args:
        run: a finished run folder.
        repo_id: ``org/name``, which the card's examples load.
        history: records of what the repository held before, the oldest first.

    Raises:
        FileNotFoundError: the run has not finished, or has no model.
        ValueError: the model is of no kind that can be pushed, or holds a file that is never pushed or a weight that is
            not finite; or a text holds what looks like an access token.
        RunFolderError: another process writes to the run folder.
    """
    with owned(run):
        return _build(run, repo_id, history)


def _build(run: Path, repo_id: str | None, history: Sequence[RunRecord]) -> Path:
    shown = Shown.beside(run, history)
    staged = run / "hub.partial"
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()
    _copy_model(run / "model", staged)
    _complete_config(staged)
    _copy_figures(run, shown.record, staged / "figures")
    for name in ("run.json", "metrics.jsonl"):
        shutil.copyfile(run / name, staged / name)
    if history:
        earlier = [asdict(record) for record in history]
        (staged / "history.json").write_text(json.dumps(earlier, indent=2) + "\n", encoding="utf-8")
    name = model_name(run)
    (staged / "README.md").write_text(str(render(shown, name, repo_id)).rstrip() + "\n", encoding="utf-8")
    if entries := leaderboard_entries(shown.record, repo_id or f"org/{name}"):
        results = staged / ".eval_results" / f"{re.sub(r'[^a-z0-9]+', '-', shown.record.task.lower()).strip('-')}.yaml"
        results.parent.mkdir()
        results.write_text(yaml_dump(eval_result_entries_to_yaml(entries)), encoding="utf-8")
    _refuse_secrets(staged)
    folder = run / "hub"
    shutil.rmtree(folder, ignore_errors=True)
    return staged.rename(folder)


def files_of(folder: Path) -> dict[str, Path]:
    """Every file below a folder, by its path in a repository, in order."""
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def modules_of(names: Iterable[str]) -> list[Path]:
    """The package's flat modules that some of them need, by following ``from .name import``."""
    found: dict[str, Path] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found[name] = PACKAGE / f"{name}.py"
        waiting += re.findall(r"^\s*from \.(\w+) import", found[name].read_text(encoding="utf-8"), re.MULTILINE)
    return [found[name] for name in sorted(found)]


def _copy_model(model: Path, staged: Path) -> None:
    if not (model / "config.json").is_file():
        raise FileNotFoundError(f"{model} holds no config.json: there is no model to push")
    there = sorted(path for path in model.rglob("*") if path.is_file())
    unknown = [str(path.relative_to(model)) for path in there if not any(map(path.match, MODEL_FILES))]
    if unknown:
        raise ValueError(
            f"{model} holds {', '.join(unknown)}, which is never pushed: only {', '.join(MODEL_FILES)} are"
        )
    if not any(path.suffix == ".safetensors" for path in there):
        raise FileNotFoundError(f"{model} holds no safetensors: there are no weights to push")
    for path in there:
        shutil.copyfile(path, staged / path.name)
        if path.suffix == ".safetensors" and (name := first_not_finite(load_file(path))) is not None:
            raise ValueError(f"{path} holds a weight that is not finite ({name}): it is never pushed")


def _complete_config(staged: Path) -> None:
    """Say in ``config.json`` which class of which module answers for which Auto class, and bring those modules."""
    path = staged / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    head = next((name for name in config.get("architectures") or [] if name in HEADS), None)
    if config.get("model_type") != LMUConfig.model_type or head is None:
        raise ValueError(f"architectures must name one of {', '.join(HEADS)}, got {config.get('architectures')}")
    auto_class, head_class = HEADS[head]
    decodes = config.get("is_encoder_decoder", False)
    body = modeling_lmu_seq2seq.LMUEncoderDecoderModel if decodes else modeling_lmu.LMUModel
    references = {"AutoConfig": LMUConfig, "AutoModel": body, auto_class: head_class}
    config["auto_map"] = {name: _reference(target) for name, target in references.items()}
    needed = [_module(target) for target in references.values()]
    if decodes:
        impl = pipeline_lmu.LMUTranslationPipeline
        config["custom_pipelines"] = {"lmu-translation": {"impl": _reference(impl), "pt": [auto_class], "type": "text"}}
        needed.append(_module(impl))
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for module in modules_of(needed):
        shutil.copyfile(module, staged / module.name)


def _module(target: type) -> str:
    return target.__module__.rpartition(".")[2]


def _reference(target: type) -> str:
    return f"{_module(target)}.{target.__name__}"


def _copy_figures(run: Path, record: RunRecord, figures: Path) -> None:
    figures.mkdir()
    if not (run / "figures" / "learning_curve.png").is_file():
        learning_curve(run, run / "figures" / "learning_curve.png")
    for picture in sorted((run / "figures").glob("*.png")):
        shutil.copyfile(picture, figures / picture.name)
    if "image_size" in record.architecture:
        example_digit(record.architecture["image_size"], figures / "example.png")


def _refuse_secrets(staged: Path) -> None:
    for name, path in files_of(staged).items():
        if path.suffix in TEXT and SECRET.search(path.read_text(encoding="utf-8")):
            raise ValueError(f"{name} holds what looks like an access token of the Hub: it is not pushed")
