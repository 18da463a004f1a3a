"""A recipe is flat, is what its record says, and knows how its record is made again."""

import ast
import json
import re
from pathlib import Path

import pytest

from lmu_hf import LMUConfig
from lmu_hf.cli.command import VERBS
from lmu_hf.training.recipes import RECIPES, get_recipe
from lmu_hf.training.reproduction import SCRIPTS, steps, tasks
from table import mean_score, read_records
from test_flags import MODULES

PROJECT = Path(__file__).parent.parent
RECORDS = read_records(PROJECT / "records")
FOLDER = PROJECT / "src" / "lmu_hf" / "training" / "recipes"
# What scripts train with nothing to download, and what somebody's own rows make.
WITHOUT_RECORD = {"dates", "digits", "names", "opinions", "paraphrases", "days-and-weeks", "chirps"}
WITHOUT_RECORD |= {name for name in RECIPES if name.startswith("own-")}
LATER = {
    "optimizer",
    "layer_decay",
    "data",
    "accumulation",
    "max_steps",
    "eval_steps",
    "patience",
    "minutes",
}  # fields since
DECIDED = {"vocab_size", "bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"}  # by the data
DECIDED |= {"embedding_size", "image_size", "permutation_seed", "input_size", "output_size", "is_encoder_decoder"}
MOVED = {"label_smoothing"}  # from the hyper-parameters into the architecture, since losses are the heads'


def differing(architecture: dict) -> dict:
    """Where an architecture differs from the family's defaults, as a record says it."""
    defaults = LMUConfig().to_dict()
    if architecture.get("ngrams"):
        architecture = {**architecture, "ngrams": {"dropout": 0.0, **architecture["ngrams"]}}
    own = {name: value for name, value in architecture.items() if name not in DECIDED | MOVED}
    return {name: value for name, value in own.items() if value != defaults.get(name)}


def test_there_are_at_most_30_recipes_beside_those_that_rows_make_and_every_record_is_of_one():
    assert len([name for name in RECIPES if not name.startswith("own-")]) <= 30
    recorded = {record.baseline_of or record.recipe for record in RECORDS}
    assert recorded == set(RECIPES) - WITHOUT_RECORD


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: f"{record.recipe}-{record.seed}")
def test_a_recipe_is_what_its_record_says(record):
    recipe = get_recipe(record.recipe)
    assert differing(recipe.architecture) == differing(record.architecture)
    smoothed = (fields.get("label_smoothing") for fields in (record.architecture, record.hyperparameters))
    assert (recipe.architecture.get("label_smoothing") or 0.0) == max(value or 0.0 for value in smoothed)
    # The LSTM on text8 was trained by flags of its own, which its recipe names.
    flags = recipe.reproduction.lstm if record.recipe == "text8-windows-lstm" else ""
    changed = {"schedule", "averaging", "max_steps", "eval_steps"} if flags else set[str]()
    for name, value in json.loads(json.dumps(recipe.hyperparameters())).items():
        if name not in changed and not (name in LATER and name not in record.hyperparameters):
            assert record.hyperparameters[name] == value, name


@pytest.mark.parametrize("name", sorted(set(RECIPES) - WITHOUT_RECORD))
def test_a_recipes_docstring_holds_its_figure_its_cost_and_its_source(name):
    words = RECIPES[name].__doc__
    first, empty, cost, source = (line.strip() for line in words.strip().splitlines())
    group = [run for run in RECORDS if run.recipe == name and not run.architecture.get("permutation_seed")]
    digits = {"accuracy": 2 if "mnist" in name else 1, "bleu": 1, "nrmse": 4}.get(group[0].metric, 3)
    split = "test" if "test" in group[0].metrics else "validation"
    assert mean_score(group, split, digits) in first
    assert not empty and cost.startswith("Cost: ") and source.startswith("Source: ")
    seconds = sorted(round(run.wall_seconds) for run in group)
    assert int(re.search(r"(\d+) s of", cost)[1]) in range(seconds[0], seconds[-1] + 1)


def test_a_recipe_is_built_on_at_most_one_other_which_stands_alone():
    functions = {
        node.name: node
        for path in FOLDER.glob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    used = {}
    for name in RECIPES:
        calls = [node.func for node in ast.walk(functions[name.replace("-", "_")]) if isinstance(node, ast.Call)]
        names = {call.id.replace("_", "-") for call in calls if isinstance(call, ast.Name)}
        used[name] = names & set(RECIPES)
    for name, others in used.items():
        assert len(others) <= 1, name
        assert all(not used[other] for other in others), name


@pytest.mark.parametrize("name", [name for name in RECIPES if get_recipe(name).reproduction.lstm is not None])
def test_an_lstm_is_trained_as_its_recipe_is(name):
    ours, theirs = get_recipe(name), get_recipe(f"{name}-lstm")
    assert theirs.hyperparameters() == ours.hyperparameters()
    assert theirs.architecture["model_type"] == "lmu_lstm"
    assert [record for record in RECORDS if record.recipe == theirs.name]


VERB_OF = {SCRIPTS[verb.kind]: name for name, verb in VERBS.items() if verb.kind}


@pytest.mark.parametrize("task", sorted(tasks()))
def test_a_tasks_commands_are_ones_that_its_scripts_take(task):
    trained = []
    for step in steps(task, Path("data"), seeds=None):
        script, *words = step.words
        assert (PROJECT / "scripts" / script).is_file()
        if script in SCRIPTS.values():
            args = MODULES[VERB_OF[script]].parse_args(words)
            trained.append(args.recipe)
    assert set(tasks()[task]) <= set(trained)


def test_a_commands_inputs_are_made_by_earlier_commands():
    for task in tasks():
        made = set()
        for step in steps(task, Path("data")):
            needed = [step.words[at + 1] for at, word in enumerate(step.words) if word in ("--word_vectors",)]
            needed += [step.words[at + 1] for at, word in enumerate(step.words) if word == "--extra_train_file"]
            assert set(needed) <= made, task
            made |= {str(step.makes)}


def test_seeds_are_those_of_the_record_unless_others_are_asked_for():
    def seeds(*asked, **how):
        return [step.words[-1] for step in steps(*asked, **how)]

    assert seeds("mackey-glass") == ["0", "0", "1", "1", "2", "2"]
    assert seeds("mackey-glass", seeds=[5]) == ["5", "5"]
    assert "--data_dir" not in {word for step in steps("mackey-glass", Path("data")) for word in step.words}
    with pytest.raises(ValueError, match="no task is called 'imbd'; there are"):
        list(steps("imbd"))


def test_the_data_of_the_hub_is_named_where_no_folder_is():
    words = next(iter(steps("multi30k"))).words
    assert words[words.index("--dataset_name") + 1] == "bentrevett/multi30k"
    assert "--dataset_name" not in next(iter(steps("multi30k", Path("data")))).words
