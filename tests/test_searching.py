"""`lmu-hf tune`: which trials are run, what is made of them, what is refused; one real search, killed and resumed."""

import ast
import csv
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from optuna.trial import TrialState
from packaging.requirements import Requirement

from lmu_hf.cli import extras, searching
from lmu_hf.cli.command import VERBS
from lmu_hf.cli.flags import Flags
from lmu_hf.cli.loading import load_task
from lmu_hf.cli.search_space import command_words, default_space
from lmu_hf.cli.train import asked_recipe, asked_running, read_rows
from lmu_hf.cli.verbs import tune as verb
from lmu_hf.common.record import RunRecord
from lmu_hf.training.recipes import get_recipe
from lmu_hf.training.tasks.classification import ClassificationTask
from lmu_hf_cli import run

PACKAGE = Path(__file__).parents[1] / "src" / "lmu_hf"
BEST_RATE = 0.01


def test_words_go_to_the_flag_before_them():
    words = ["text", "--trials", "3", "--train_file", "a.csv", "--search", "a=1,2", "b=-1..2", "--noise_db", "-5", "-h"]
    own, others = verb.split_words(words, {"--trials", "--search", "-h"})
    assert own == ["--trials", "3", "--search", "a=1,2", "b=-1..2", "-h"]
    assert others == ["text", "--train_file", "a.csv", "--noise_db", "-5"]
    assert verb.split_words(["--trials=3", "--seed=1"], {"--trials"}) == (["--trials=3"], ["--seed=1"])


def test_flags_of_the_search_stand_beside_those_of_the_verb():
    words = "text --train_file a.csv --minutes 30 --trial_minutes 2 --skip_test --output_dir out --search theta=2,3"
    args = verb.parse_args([*words.split(), "--config_overrides", "order=4"])
    assert (args.search_minutes, args.minutes, args.trials, args.recipe) == (30, 2, 20, "own-text")
    assert args.words == ["--train_file", "a.csv", "--config_overrides", "order=4", "--minutes", "2"]
    assert args.skip_test and args.output_dir == Path("out") and list(args.search) == ["theta"]


@pytest.mark.parametrize(
    "words, message",
    [
        ("", "the following arguments are required: kind"),
        ("vectors", "invalid choice: 'vectors'"),
        ("text --trails 3", "unrecognized arguments: --trails; did you mean --trials?"),
        ("text --train_fil a.csv", "did you mean --train_file?"),
        (
            "text --resume_from_checkpoint auto",
            "--resume_from_checkpoint has no effect here: a search goes on",
        ),
        ("series --trial_minutes 3", "--trial_minutes has no effect here: `lmu-hf train series` has no --minutes"),
        ("text --search theta=2,3 theta=4,5", "--search names theta twice"),
        ("lm --search num_train_epochs=1..3 max_train_steps=5,6", "takes only one of num_train_epochs and max_train"),
        ("text --learning_rate 1 --search learning_rate=1..2", "--learning_rate sets learning_rate, and --search"),
        ("text --config_overrides theta=3 --search theta=2,3", "--config_overrides sets theta, and --search searches"),
        ("text --max_train_steps 3 --search num_train_epochs=2,3", "--max_train_steps both set the length of a run"),
    ],
)
def test_flags_that_do_not_go_together_are_refused_in_one_line(words, message, capsys):
    with pytest.raises(SystemExit) as ended:
        verb.parse_args(words.split())
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2 and message in line


def test_a_missing_optuna_is_one_line_with_the_command_that_brings_it(monkeypatch):
    asked = {"train": [], "tune": [Requirement("optuna>=99")]}
    monkeypatch.setattr(extras, "extras", lambda: asked)
    monkeypatch.setattr(sys, "argv", ["lmu-hf"])
    with pytest.raises(SystemExit) as ended:
        run("tune", argv=["text"])
    assert ended.value.code == "lmu-hf: error: this needs optuna>=99: pip install 'lmu-hf[tune]'"


def test_optuna_is_imported_by_this_verb_alone():
    importing = set()
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        # What stands below this is there for the types alone, and is never run.
        unread = [
            node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        ]
        passed_over = {id(inner) for node in unread for inner in ast.walk(node)}
        for node in ast.walk(tree):
            if id(node) in passed_over:
                continue
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            importing |= {path.stem for name in names if name.split(".")[0] in ("optuna", "sqlalchemy")}
    assert importing == {"searching", "search_table"}


# --------------------------------------------------------------------------- trials that take no time


class Runs:
    """Stands for ``run`` of cli/train.py: a run is the better, the nearer its learning rate is to ``BEST_RATE``."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.tests = 0
        self.before = lambda number, watch: None  # what a test does within a run

    def __call__(self, args, load_task, watch=None, what_next=""):
        if args.resume_from_checkpoint == "auto":
            record = RunRecord.read(args.output_dir)
            record.metrics["test"] = {"accuracy": 0.5}
            self.tests += 1
        else:
            assert args.skip_test and not args.overwrite_output_dir
            self.before(len(self.rates), watch)
            self.rates.append(args.learning_rate)
            record = self.record(abs(args.learning_rate - BEST_RATE))
            (args.output_dir / "model").mkdir(parents=True)
            (args.output_dir / "checkpoints").mkdir()
        record.write(args.output_dir)
        return record

    @staticmethod
    def record(distance: float) -> RunRecord:
        plain = {"recipe": "opinions", "task": "text-classification", "head": "LMU", "seed": 0, "architecture": {}}
        record = RunRecord(**plain, data={"rows": {}}, hyperparameters={}, parameters={"total": 1, "trainable": 1})
        record.metrics["validation"] = {"accuracy": 1 - distance}
        return record


@pytest.fixture
def runs(monkeypatch, tmp_path) -> Runs:
    task = SimpleNamespace(metric="accuracy", lower_is_better=False, splits={"test": [0]}, name="made up")
    task.config_fields, task.describe = dict, lambda: {"fingerprint": "f"}
    runs = Runs()
    runs.task = task
    monkeypatch.setattr(searching, "read_rows", lambda flags, recipe, load_task: (recipe, task))
    monkeypatch.setattr(searching, "run", runs)
    monkeypatch.setattr(sys, "argv", ["lmu-hf", "tune"])
    monkeypatch.chdir(tmp_path)
    return runs


def search(*words: str, trials: int = 5) -> RunRecord:
    given = ["text", "--output_dir", "out", "--trials", str(trials), *words]
    return run("tune", argv=[*given, *([] if "--search" in words else ["--search", "learning_rate=1e-3..1e-1"])])


def study() -> optuna.Study:
    return optuna.load_study(study_name="search", storage="sqlite:///out/study.sqlite3")


def test_the_best_trial_on_validation_is_kept_and_its_test_read_once(runs, capsys):
    record = search()
    assert runs.rates[0] == get_recipe("opinions").learning_rate  # the recipe's own value comes first
    assert len(set(runs.rates)) == 5 and all(1e-3 <= rate <= 1e-1 for rate in runs.rates)
    nearest = min(range(5), key=lambda number: abs(runs.rates[number] - BEST_RATE))
    assert study().best_trial.number == nearest and runs.tests == 1
    assert record == RunRecord.read(Path("out/best")) and set(record.metrics) == {"validation", "test"}
    assert [path.parent.name for path in Path("out/trials").glob("*/model")] == [str(nearest)]
    assert "test" not in RunRecord.read(Path("out/trials") / str(nearest)).metrics
    with Path("out/trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["learning_rate"]) for row in rows] == runs.rates
    assert {row["state"] for row in rows} == {"complete"}
    assert [float(row["validation accuracy"]) for row in rows] == pytest.approx(
        [1 - abs(rate - BEST_RATE) for rate in runs.rates], abs=1e-6
    )
    told = capsys.readouterr().out
    assert f"best is trial {nearest}, of 5" in told
    assert told.splitlines()[-1] == f"  lmu-hf train text --learning_rate {runs.rates[nearest]}"


def test_a_search_that_has_read_its_test_is_over(runs, capsys):
    first = search()
    tried = list(runs.rates)
    assert search() == first and runs.rates == tried and runs.tests == 1
    with pytest.raises(SystemExit, match=r"the search in out has ended and its test has been read, .* --output_dir"):
        search(trials=6)
    assert runs.rates == tried and "lmu-hf train text --learning_rate" in capsys.readouterr().out


def test_more_trials_are_allowed_as_long_as_the_test_is_unread(runs):
    search("--skip_test", trials=2)
    assert runs.tests == 0 and len(runs.rates) == 2 and "test" not in RunRecord.read(Path("out/best")).metrics
    search(trials=4)
    assert runs.tests == 1 and len(set(runs.rates)) == 4  # the second half draws no value again
    assert RunRecord.read(Path("out/best")).metrics["validation"]["accuracy"] == study().best_value


def test_a_score_that_is_to_be_low_is_minimised(runs):
    runs.task.lower_is_better = True
    search()
    assert study().best_trial.number == max(range(5), key=lambda number: abs(runs.rates[number] - BEST_RATE))


def test_a_search_draws_the_same_again(runs):
    search()
    first = list(runs.rates)
    search("--overwrite_output_dir")
    assert runs.rates[5:] == first
    search("--overwrite_output_dir", "--seed", "1")
    assert runs.rates[10] == first[0] and runs.rates[11:] != first[1:]


def test_a_trial_that_was_running_counts_as_failed(runs):
    def end(number, watch):
        if number == 1:
            raise KeyboardInterrupt

    runs.before = end
    with pytest.raises(SystemExit):
        search()
    assert [trial.state for trial in study().trials] == [TrialState.COMPLETE, TrialState.FAIL]
    study().ask()  # as a process leaves it that is killed
    runs.before = lambda number, watch: None
    search()
    states = [trial.state for trial in study().trials]
    assert states[:3] == [TrialState.COMPLETE, TrialState.FAIL, TrialState.FAIL] and len(states) == 5
    assert states[3:] == [TrialState.COMPLETE] * 2 and len(set(runs.rates)) == 3
    with Path("out/trials.csv").open() as file:
        assert [row["why"] for row in csv.DictReader(file)][1:3] == ["ended from outside"] * 2


def test_the_recipes_own_values_are_tried_again_if_their_trial_was_cut_short(runs):
    def end(number, watch):
        raise KeyboardInterrupt

    runs.before = end
    with pytest.raises(SystemExit):
        search()
    runs.before = lambda number, watch: None
    search()
    assert runs.rates[0] == get_recipe("opinions").learning_rate and len(runs.rates) == 4


def test_a_trial_worse_than_the_median_is_stopped_at_an_evaluation(runs):
    def report(number, watch):
        watch({"validation_accuracy": 0.9 if number < 4 else 0.1}, 0.5)
        watch({"validation_accuracy": 0.9}, 1.0)

    runs.before = report
    search(trials=6)
    states = [trial.state for trial in study().trials]
    assert states == [TrialState.COMPLETE] * 4 + [TrialState.PRUNED] * 2
    with Path("out/trials.csv").open() as file:
        why = [row["why"] for row in csv.DictReader(file)]
    assert why[4] == "stopped after 50% of its steps: worse than the median of other trials" and not why[3]


def test_the_last_evaluation_stops_nothing(runs):
    runs.before = lambda number, watch: watch({"validation_accuracy": 0.9 - 0.1 * number}, 1.0)
    search(trials=6)
    assert {trial.state for trial in study().trials} == {TrialState.COMPLETE}


def test_settings_that_fail_cost_one_trial(runs, capsys):
    def diverge(number, watch):
        if len(study().trials) in (2, 3):
            raise (FloatingPointError, ValueError)[len(study().trials) - 2]("it went wrong; begin anew")

    runs.before = diverge
    search(trials=4)
    assert [trial.state for trial in study().trials] == [
        *(TrialState.COMPLETE, TrialState.FAIL, TrialState.FAIL, TrialState.COMPLETE)
    ]
    assert "trial 1: it went wrong; " in capsys.readouterr().out


@pytest.mark.parametrize("error", [ValueError("no column 'text'"), OSError("the disk is full")])
def test_what_is_wrong_with_the_first_trial_ends_the_search(runs, error):
    def fail(number, watch):
        raise error

    runs.before = fail
    with pytest.raises(SystemExit, match=str(error)):
        search()
    assert [trial.state for trial in study().trials] == [TrialState.FAIL]


def test_where_every_trial_fails_the_table_is_named(runs):
    def fail(number, watch):
        raise FloatingPointError("training has diverged")

    runs.before = fail
    with pytest.raises(SystemExit, match=r"no trial came to its end: out/trials\.csv says why"):
        search(trials=2)


def test_no_trial_begins_that_would_end_after_the_minutes(runs, monkeypatch):
    now = [0.0]

    def pass_a_minute(number, watch):
        now[0] += 60

    runs.before = pass_a_minute
    monkeypatch.setattr(searching, "time", SimpleNamespace(monotonic=lambda: now[0]))
    search("--minutes", "2.5")
    assert len(runs.rates) == 2


@pytest.mark.parametrize(
    "words, message",
    [
        (["--seed", "1"], "out holds a search with --seed not given, and this one has it 1: give the same flags"),
        (["--search", "learning_rate=1e-4..1e-1"], "--search learning_rate 0.001 to 0.1 .log., and this one has it"),
    ],
)
def test_another_search_is_not_mixed_with_one_that_is_there(runs, words, message):
    search("--skip_test", trials=2)
    with pytest.raises(SystemExit, match=message):
        search("--skip_test", *words, trials=3)
    search("--skip_test", "--quiet", "--report_to", "none", trials=3)  # these change no score
    assert len(runs.rates) == 3
    runs.task.describe = lambda: {"fingerprint": "other"}
    with pytest.raises(SystemExit, match="the fingerprint of the rows f, and this one has it other"):
        search("--skip_test", trials=4)


def test_a_folder_that_holds_something_else_is_left_alone(runs):
    Path("out").mkdir()
    Path("out/run.json").write_text("{}")
    for words in ((), ("--overwrite_output_dir",)):
        with pytest.raises(SystemExit, match=r"out holds run\.json, which is not a search's: choose another"):
            search(*words)
    Path("out/run.json").unlink()
    Path("out/study.sqlite3").write_text("no data base " * 50)
    with pytest.raises(SystemExit, match=r"out/study\.sqlite3 cannot be read; --overwrite_output_dir begins anew: "):
        search()
    search("--overwrite_output_dir", trials=1)
    assert len(runs.rates) == 1


def test_a_folder_may_have_any_name(runs):
    for name in ("a b", "50%20", "a?b=c", "a#b", "{x}", "ä"):
        run("tune", argv=["text", "--output_dir", name, "--trials", "1"])
        assert (Path(name) / "study.sqlite3").is_file() and (Path(name) / "best" / "run.json").is_file()


@pytest.mark.parametrize(
    "words, message",
    [
        (["--search", "nosuch=1,2"], "--search: there is no field 'nosuch'"),
        (["--search", "ordr=1,2"], "--search: there is no field 'ordr'; did you mean 'order'?"),
        (["--search", "epochs=1,2"], "there is no field 'epochs'; did you mean 'num_train_epochs'?"),
        (["--search", "order=0..4"], "--search order=0: order must be at least 1, got 0"),
        (["--search", "hidden_size=8,many"], "--search hidden_size=many: .*hidden_size"),
        (["--baseline", "lstm", "--search", "theta=3,4"], "--search theta=3: "),
        (["--search", "input_size=1,2"], "--search input_size has no effect: the data of made up decides it"),
    ],
)
def test_fields_that_cannot_be_searched_are_named_before_any_trial(runs, words, message):
    runs.task.config_fields = lambda: {"input_size": None}
    with pytest.raises(SystemExit, match=message):
        search(*words)
    assert not runs.rates


@pytest.mark.parametrize(
    "words, message",
    [
        ("forecast", "weights of days-and-weeks are solved in closed form, .* --num_train_epochs trains them further"),
        ("series", "the weights of own-series are solved in closed form, .* --config_overrides pooling=mean_max"),
    ],
)
def test_weights_that_are_solved_are_not_searched(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lmu-hf", "tune"])
    with pytest.raises(SystemExit, match=message):
        run("tune", argv=[*words.split(), "--output_dir", str(tmp_path / "out")])
    assert not (tmp_path / "out" / "study.sqlite3").exists()


# --------------------------------------------------------------------------- real rows


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        *("text --rows 60", "text --train_file rows.csv", "text --rows 60 --baseline lstm", "lm --train_file text.txt"),
        *("translation --rows 60", "tokens --rows 60", "image --recipe digits", "audio --rows 24"),
        *("series --rows 24 --config_overrides pooling=mean_max", "forecast --num_train_epochs 1"),
        "forecast --recipe mackey-glass",
    ],
)
def test_both_ends_of_every_default_range_make_a_model(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lmu-hf", "tune"])
    Path("text.txt").write_text("a line of text, and another one\n" * 200)
    Path("rows.csv").write_text("text,label\n" + "it was good,1\nso it was not,0\n" * 30)
    args = verb.parse_args(words.split())
    flags = Flags(args)
    recipe = asked_recipe(flags)
    asked_running(flags)
    flags.read.add("seed")
    recipe, task = read_rows(flags, recipe, load_task)
    space = default_space(recipe, searching._settled(args, recipe, task))
    assert {"learning_rate", "weight_decay", "hidden_dropout"} <= set(space)
    _, plain = verb.split_words(args.words, {"--config_overrides"})
    train = import_module(f"lmu_hf.cli.verbs.{VERBS[f'train {args.kind}'].module}")
    for end in (0, -1):
        settings = {name: values.ends[end] for name, values in space.items()}
        given = train.parse_args([*plain, *command_words(settings, recipe.architecture, args.config_overrides)])
        model = task.make_model(asked_recipe(given, task.made).architecture)
        assert model.config.hidden_dropout == float(settings["hidden_dropout"])


@pytest.mark.slow
def test_a_killed_search_goes_on_and_reads_the_test_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["text", "--rows", "400", "--trials", "3", "--output_dir", "out", "--quiet", "--report_to", "none"]
    words += ["--search", "learning_rate=1e-3..1e-2", "hidden_dropout=0..0.2"]
    command = [str(Path(sys.executable).with_name("lmu-hf")), "tune", *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}) as killed:
        while killed.poll() is None and not Path("out/trials/1/metrics.jsonl").exists():
            time.sleep(0.01)
        killed.send_signal(signal.SIGKILL)
    assert [trial.state for trial in study().trials] == [TrialState.COMPLETE, TrialState.RUNNING]
    seen, scores = [], ClassificationTask.scores

    def noted(self, model, split, *rest, **how):
        seen.append(split)
        return scores(self, model, split, *rest, **how)

    monkeypatch.setattr(ClassificationTask, "scores", noted)
    monkeypatch.setattr(sys, "argv", ["lmu-hf", "tune", *words])
    best = run("tune", argv=words)
    assert [trial.state for trial in study().trials] == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]
    assert seen.count("test") == 1 and "accuracy" in best.metrics["test"]
    found = {path.name: RunRecord.read(path) for path in Path("out/trials").iterdir() if (path / "run.json").is_file()}
    assert set(found) == {"0", "2"} and all(set(record.metrics) == {"validation"} for record in found.values())
    number = str(study().best_trial.number)
    assert study().best_value == max(record.metrics["validation"]["accuracy"] for record in found.values())
    assert best.metrics["validation"] == found[number].metrics["validation"]
    assert "--skip_test" not in best.command
    assert json.loads(Path("out/best/data.json").read_text())["rows"] == 400
    told = capsys.readouterr().out
    assert len(Path("out/trials.csv").read_text().splitlines()) == 4 and f"best is trial {number}, of 3" in told
    # The command that is printed makes the same model again.
    name, _, kind, *again = shlex.split(told.splitlines()[-1])
    assert (name, kind) == ("lmu-hf", "text")
    monkeypatch.setattr(sys, "argv", ["lmu-hf", "train", kind, *again])
    assert run("train text", argv=[*again, "--output_dir", "again"]).metrics == best.metrics
