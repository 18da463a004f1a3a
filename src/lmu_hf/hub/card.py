"""A run record becomes a model card: every number in it comes from ``run.json`` files and from nowhere else."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, EvalResultEntry, ModelCard, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..common.figures import confusion_matrix, learning_curve
from ..common.record import RunRecord
from ..common.staging import write_text
from .caveats import caveats_of, remembers_nothing
from .kinds import dataset_of, example_of, kind_of
from .limits import limits_of
from .links import inside
from .markup import block, code, one_line, text
from .records import own_record, readable_records
from .results import (
    beside_table,
    classes_table,
    history_table,
    lengths_table,
    meaning,
    metric_name,
    results_table,
    split_of_details,
    total_parameters,
)

TEMPLATES = Path(__file__).parent / "templates"
PICTURES = {  # that a card may show, and what they show
    "confusion_matrix.png": "Which classes were taken for which",
    "forecasts.png": "Forecasts beside what came",
    "learning_curve.png": "Training loss, and the validation score that weights are chosen by",
}
SHOWN_OF_THE_SETTING = ("data", "augmentation")  # these are dictionaries, and in run.json


@dataclass
class Shown:
    """A run and what is shown beside it.

    Args:
        record: of the run whose weights the card speaks of.
        seeds: records of the same training under other seeds.
        baselines: records of the recipe's baselines on the same data.
        history: records of what the repository held before, the oldest first.
        lengths: what ``lmu-hf evaluate --by_length`` wrote of this very model, if it was asked.
    """

    record: RunRecord
    seeds: Sequence[RunRecord] = ()
    baselines: Sequence[RunRecord] = ()
    history: Sequence[RunRecord] = ()
    lengths: dict[str, Any] | None = None
    group: list[RunRecord] = field(init=False)

    def __post_init__(self) -> None:
        self.group = sorted([self.record, *self.seeds], key=lambda record: record.seed)

    @classmethod
    def beside(cls, run: Path, history: Sequence[RunRecord] = ()) -> "Shown":
        """A run folder with whatever its neighbours say of the same training and of its baseline.

        Raises:
            FileNotFoundError: the run has not finished.
            ValueError: its record cannot be read, or is none. A neighbour's that cannot be read is left out.
        """
        record = own_record(run)
        # A run and its baselines lie side by side in one folder of runs.
        others = [other for folder, other in readable_records(run.parent) if folder != run]
        seeds = [other for other in others if training_of(other) == training_of(record) and other.seed != record.seed]
        baselines = [other for other in others if _is_baseline(other, record)]
        return cls(record, seeds, baselines, history, _scores_by_length(run, record))


def training_of(record: RunRecord) -> str:
    """Everything that decides a training but its seed."""
    return json.dumps(
        [record.recipe, record.data, record.hyperparameters, record.architecture], sort_keys=True, default=str
    )


def _is_baseline(other: RunRecord, record: RunRecord) -> bool:
    """A baseline that was trained for this very recipe, on the same rows in the same order of pixels."""
    # The fingerprint is of the images, and does not say in which order their pixels are read.
    same_order = other.architecture.get("permutation_seed") == record.architecture.get("permutation_seed")
    return (
        other.baseline_of == record.recipe
        and other.data.get("fingerprint") == record.data.get("fingerprint")
        and same_order
    )


def _scores_by_length(run: Path, record: RunRecord) -> dict[str, Any] | None:
    """A report of ``evaluate --by_length``, in the run's folder or beside it, that gives the run's own scores."""
    for path in sorted([*run.glob("*by_length*.json"), *run.parent.glob("*by_length*.json")]):
        report = json.loads(inside(path, run.parent).read_text(encoding="utf-8"))
        same = report.get("parameters") == record.parameters and "by_length" in report
        if same and report["scores"] == record.metrics.get(report["split"]):
            return report
    return None


def model_name(run: Path) -> str:
    """What a run folder's model is called, whatever its seed."""
    name = slug(re.sub(r"-seed\d+$", "", run.name), keep="_.") or "model"
    return name if name.startswith("lmu-") else f"lmu-{name}"


def slug(words: str, keep: str = "") -> str:
    """Words as a part of a name on the Hub: letters, digits and single hyphens."""
    # The Hub takes neither .. nor --, and at most 96 characters. A prefix such as lmu- needs some of them.
    plain = re.sub(rf"[^A-Za-z0-9{re.escape(keep)}]+|\.\.+|--+", "-", words).strip("-.")
    return (plain if keep else plain.lower())[:80]


def render(
    shown: Shown, name: str, repo_id: str | None = None, picture: str | None = None, in_box: bool = False
) -> ModelCard:
    """The card.

    Args:
        shown: the run, and what stands beside it.
        name: of the model.
        repo_id: where it can be loaded from; ``org/<name>`` if that is not known yet.
        picture: where the card's picture lies; ``figures/<its name>`` as in a repository, if nothing is said.
        in_box: whether the model comes with the package.
    """
    record, repo_id = shown.record, repo_id or f"org/{name}"
    kind = kind_of(record)
    # What a record says goes through `text`, `code` or `block`: a record may be anybody's and must not be markup.
    return ModelCard.from_template(
        metadata(record, name, repo_id),
        template_str=(TEMPLATES / "template.md").read_text(encoding="utf-8"),
        name=text(name),
        is_baseline=record.baseline is not None,
        remembers_nothing=remembers_nothing(record),
        recipe=f"recipe {code(record.recipe)}" + (f" on {text(record.data['name'])}" if _is_own(record) else ""),
        command=block(one_line(record.command)),
        steps=record.steps,
        reads=kind.reads(record),
        use=kind.use,
        in_box=in_box,
        parameters=total_parameters(record),
        size=_size(record),
        picture=picture or (f"figures/{name_of_picture}" if (name_of_picture := picture_of(record)) else None),
        shows=PICTURES.get(picture_of(record) or ""),
        meaning=meaning(record),
        lengths=lengths_table(record, shown.lengths) if shown.lengths else "",
        usage=_usage(record, repo_id),
        results=results_table(record, shown.group, shown.baselines),
        beside=beside_table(record),
        parts=bool(record.parts),
        classes=classes_table(record),
        how_scored=_how_scored(shown),
        caveats=caveats_of(record),
        history=history_table(shown.history) if shown.history else "",
        training=_training(record),
        architecture=_architecture(record),
        limits=limits_of(record, shown.lengths),
    )


def picture_of(record: RunRecord) -> str | None:
    """The file of the one picture that a card shows: what says most of such a model; None where there is none."""
    if split_of_details(record, "confusion") is not None:
        return "confusion_matrix.png"
    if "forecast" in record.architecture:
        return "forecasts.png"
    return "learning_curve.png" if record.steps else None


def _size(record: RunRecord) -> str:
    """What the model takes: its weights on a disk, and its training."""
    megabytes = 4 * record.parameters["total"] / 1e6  # float32
    lines = [f"Weights: {total_parameters(record)} parameters, {megabytes:#.4g} MB in float32"]
    rows = record.data.get("rows", {}).get("train", 0)
    if record.steps and rows and record.wall_seconds:
        last = record.steps / record.best_step * record.best_epoch if record.best_step else record.best_epoch
        speed = rows * last / record.wall_seconds
        lines.append(
            f"Training: {speed:,.0f} rows a second, evaluations included, beside whatever else the machine did"
        )
    return "\n".join(f"- {line}" for line in lines)


def metadata(record: RunRecord, name: str, repo_id: str) -> ModelCardData:
    """The card's head: licence, task, data, model-index and widget examples."""
    record = _flat(record)
    kind, (dataset, _, _) = kind_of(record), dataset_of(record)
    more: dict[str, Any] = {} if dataset is None else {"datasets": [dataset]}
    if "languages" in record.data:
        more["language"] = record.data["languages"]
    widget = _widget(record, repo_id)
    if widget:
        more["widget"] = widget
    return ModelCardData(
        model_name=name,
        license="apache-2.0",
        library_name="transformers",
        pipeline_tag=kind.pipeline_tag,
        tags=["lmu", "legendre-memory-unit", *([record.baseline] if record.baseline else [])],
        # The loss is no metric of the Hub's list; the card's table of results shows it.
        metrics=sorted({metric for scores in record.metrics.values() for metric in scores} - {"loss"}),
        eval_results=eval_results(record),
        **more,
    )


def _flat(record: RunRecord) -> RunRecord:
    """A record whose texts may stand in YAML, which quotes them itself."""
    return RunRecord(**one_line(asdict(record)))


def eval_results(record: RunRecord) -> list[EvalResult]:
    """One entry of the model-index for every score of every split, as it was recorded."""
    dataset, words, config = dataset_of(record)
    return [
        EvalResult(
            task_type=kind_of(record).pipeline_tag,
            # The Hub asks for a data set in every entry, of data that is not there too.
            dataset_type=dataset or slug(words) or "own",
            dataset_name=words,
            dataset_config=config,
            dataset_split=_split_of(record, split),
            metric_type=metric,
            # Values stay fractions, as they are recorded, so their name must not say per cent.
            metric_name=metric_name(record, metric).removesuffix(", %"),
            metric_value=value,
            metric_config=record.scorer or None,
        )
        for split, scores in record.metrics.items()
        for metric, value in scores.items()
        if metric != "loss"
    ]


def leaderboard_entries(record: RunRecord, repo_id: str) -> list[EvalResultEntry]:
    """What ``.eval_results/`` says: the best split's scores, if the data set has a place on the Hub."""
    record = _flat(record)
    dataset, _, config = dataset_of(record)
    # A leaderboard belongs to a data set of the Hub.
    if dataset is None:
        return []
    split = "test" if "test" in record.metrics else "validation"
    notes = "; ".join(filter(None, [f"split {_split_of(record, split)}", record.metric, record.scorer]))
    return [
        EvalResultEntry(
            dataset_id=dataset,
            task_id=config or "default",
            value=record.metrics[split][record.metric],
            source_url=f"https://huggingface.co/{repo_id}/blob/main/run.json",
            source_name="run record",
            notes=notes,
        )
    ]


def _is_own(record: RunRecord) -> bool:
    """Whether the rows were somebody's own file, after which the run is called."""
    return "title" in record.data


def _split_of(record: RunRecord, split: str) -> str:
    """What the data set itself calls a split, where the record knows."""
    return record.data.get("splits", {}).get(split, split)


def _how_scored(shown: Shown) -> str:
    record = shown.record
    name = metric_name(record, record.metric).removesuffix(", %")
    solved = "The readout is solved in closed form on the training part; no step of training is taken."
    parts = [f"Weights are those with the best validation {text(name)} on the way." if record.steps else solved]
    if "test" in record.metrics:
        parts.append("The test split was read once, at the end.")
    if record.scorer:
        parts.append(f"Scorer: {code(record.scorer)}.")
    for split in record.metrics:
        # As "test" here and "all of validation" there, where a data set has no labelled test.
        if (whose := _split_of(record, split)) != split:
            parts.append(f"What is {text(split)} here is, in the data set's own terms, {text(whose)}.")
    if shown.baselines:
        recipes = list(dict.fromkeys(code(record.recipe) for record in shown.baselines))
        several = "The baselines are" if len(recipes) > 1 else "The baseline is"
        parts.append(f"{several} {' and '.join(recipes)}, trained on the same rows.")
    return " ".join(parts)


def _training(record: RunRecord) -> str:
    """Where, how long and on what, as a list."""
    rows = ", ".join(f"{count:,} {text(split)}" for split, count in record.data.get("rows", {}).items())
    settings = {
        name: value
        for name, value in record.hyperparameters.items()
        if name not in SHOWN_OF_THE_SETTING and value is not None  # None: not in use
    }
    memory = record.peak_memory_bytes / 2**20  # bytes to MiB
    threads, processes = record.hardware["threads"], record.processes
    # Without an accelerator the run was on a CPU, of which threads decide the speed.
    on = record.hardware.get("accelerator") or f"{threads} thread{'s' * (threads > 1)} of {record.hardware['machine']}"
    precision = "" if record.mixed_precision == "no" else f", products in {text(record.mixed_precision)}"
    versions = ", ".join(text(f"{name} {number}") for name, number in record.versions.items())
    lines = [
        f"Data: {text(record.data['name'])} ({rows}; fingerprint {code(record.data.get('fingerprint', 'none'))})",
        "Setting: " + ", ".join(code(f"{name}={value}") for name, value in settings.items()),
    ]
    how = f"Best after epoch {record.best_epoch:g}" if record.steps else "Drawn, and its readout found in closed form"
    if kind_of(record).name == "image-classification":
        lines.append(f"Deformed training images: {'yes' if record.hyperparameters.get('augmentation') else 'no'}")
    lines += [
        f"{record.steps:,} steps in {record.wall_seconds:,.0f} seconds, {processes} process{'es' * (processes > 1)}, "
        f"{text(on)}{precision}; at most {memory:,.0f} MiB. {how}",
        f"Seed {record.seed}; code at commit {code(record.commit)}; {versions}",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _architecture(record: RunRecord) -> str:
    counts = ", ".join(f"{text(name)} {count:,}" for name, count in record.parameters.items())
    fields = block(json.dumps(record.architecture, indent=2), "json")
    return f"Parameters: {counts}. Where its `LMUConfig` differs from the defaults:\n\n{fields}"


def _usage(record: RunRecord, repo_id: str) -> str:
    example = example_of(record)
    # A string in JSON is a string in Python too, whatever quotation marks it holds.
    quoted = json.dumps(example) if isinstance(example, str) else [json.dumps(text) for text in example]
    # The text is Markdown and Python, not HTML: nothing is to be escaped.
    several = record.problem_type == "multi_label_classification"
    environment = Environment(loader=FileSystemLoader(TEMPLATES / "usage"), undefined=StrictUndefined, autoescape=False)
    return (
        environment.get_template(f"{kind_of(record).name}.md")
        .render(
            repo_id=repo_id,
            example=quoted,
            how=", top_k=None" if several else "",
            channels=record.architecture.get("input_size", 1),
            forecast=record.architecture.get("forecast"),
        )
        .strip()
    )


def _widget(record: RunRecord, repo_id: str) -> list[dict[str, Any]]:
    example, name = example_of(record), kind_of(record).name
    if name == "image-classification":
        if "title" in record.data:  # the example is a digit, and somebody's own pictures are of something else
            return []
        picture = f"https://huggingface.co/{repo_id}/resolve/main/figures/example.png"
        return [{"src": picture, "example_title": "A handwritten digit"}]
    if name in ("time-series-forecasting", "audio-classification"):
        return []
    # The widget has one field, so the two texts of a pair stand in one.
    return [{"text": example if isinstance(example, str) else " ".join(example), "example_title": "An example"}]


def write_cards(records: Path, cards: Path, only: Sequence[str] = ()) -> list[Path]:
    """Write cards of the models of a folder of records: one for all seeds, which shows the first one's weights.

    A record that cannot be read is left out, and a line of the log says so. A card's picture, where a record alone is
    enough to draw it, lies in ``figures/`` beside the cards.

    Args:
        records: the folder of run folders.
        cards: the folder to write to.
        only: models to write the cards of, by their names without ``lmu-``; every one if there is none.

    Raises:
        FileNotFoundError: there is no record, or none of a name in ``only``.
    """
    first: dict[str, Path] = {}
    # Lowest seed first: setdefault keeps the first of a name.
    for run, _ in sorted(readable_records(records), key=lambda found: found[1].seed):
        first.setdefault(model_name(run).removeprefix("lmu-"), run)
    if not first:
        raise FileNotFoundError(f"no finished run below {records}")
    if missing := [name for name in only if name not in first]:
        raise FileNotFoundError(f"{records} has no run of {missing[0]!r}; there are {', '.join(sorted(first))}")
    cards.mkdir(parents=True, exist_ok=True)
    written = []
    for name in sorted(only or first):
        run, path = first[name], cards / f"{name}.md"
        picture = draw_picture(run, cards / "figures" / f"{name}.png")
        card = render(Shown.beside(run), f"lmu-{name}", picture=None if picture is None else f"figures/{picture.name}")
        write_text(path, str(card).rstrip() + "\n")
        written.append(path)
    return written


def draw_picture(run: Path, path: Path) -> Path | None:
    """Draw the picture of a run's card; None where there is none, or none that its record holds."""
    name = picture_of(RunRecord.read(run))
    drawn = {"confusion_matrix.png": confusion_matrix, "learning_curve.png": learning_curve}
    return drawn[name](run, path) if name in drawn else None
