"""A search for hyper-parameters: optuna proposes settings, an ordinary run tries each, and validation alone decides."""

import argparse
import gc
import shlex
import shutil
import sys
import time
from collections.abc import Iterable
from contextlib import redirect_stdout
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from pathlib import Path

import optuna
from accelerate import PartialState
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import URL

from ..common.errors import InputError, check_folder, explained, is_expected, one_line
from ..common.lock import LOCK, OWNER, owned
from ..common.record import RunRecord
from ..common.staging import delete, folder_written_whole, unfinished
from ..configuration_lmu import LMUConfig
from ..training.baselines import make_config
from ..training.recipes import Recipe
from ..training.run_folder import RESULTS
from ..training.tasks.base import Task
from ..training.tasks.classification import HEAD_FIELDS
from ..training.tasks.series_classification import SHARE
from .command import VERBS
from .flags import COMMAND, Flags
from .launch import typed_command
from .loading import load_task
from .origin import PATHS
from .paths import check_paths
from .search_space import (
    FLAGS,
    LENGTHS,
    SCALE,
    WINDOWS,
    Values,
    command_words,
    default_space,
    own_value,
    plain,
    say,
    suggest,
    within,
)
from .search_table import plain_table, row_of, say_trial, write_table
from .train import asked_recipe, asked_running, own_title, read_rows, run, tell
from .verbs.tune import split_words

STUDY, TRIALS, TABLE, LOG, BEST = "study.sqlite3", "trials", "trials.csv", "log.txt", "best"
OURS = (STUDY, f"{STUDY}-journal", TRIALS, TABLE, LOG, BEST)  # and what was to become one of these
# Flags that change no score of a trial, or name rows, whose fingerprint is compared in their place.
IMMATERIAL = (
    *("quiet", "report_to", "dataloader_num_workers", "save_total_limit", "checkpointing_steps"),
    *("preprocessing_num_workers", *PATHS),
)
OWN = "the recipe's own values"  # an attribute of the trial that has them
BEFORE_PRUNING = 4  # complete trials that the pruner waits for: of fewer the median says little
WITHOUT_GRADIENTS = {
    "forecast": "--num_train_epochs trains them further, and that can be searched",
    "series-classification": "--config_overrides pooling=mean_max trains them by gradients, and that can be searched",
}


def tune(args: argparse.Namespace) -> RunRecord:
    """Search, make the best trial a run folder of its own, read its test, and print what was found.

    Args:
        args: as the verb ``tune`` parsed them.

    Raises:
        InputError: there is nothing to search, the folder holds something else, or no trial came to its end.
        ValueError: flags contradict each other or the data; the message says which.
    """
    if PartialState().num_processes > 1:
        raise InputError(f"a search runs in one process: start it as `{COMMAND} tune`, without a launcher")
    flags = Flags(args)
    _check_names(args.search)
    recipe = asked_recipe(flags)
    asked_running(flags)  # what is wrong with them is said before any row is read
    flags.read.add("seed")  # of every trial
    folder = args.output_dir or Path("runs") / f"{own_title(flags) or recipe.name}-tuned"
    check_folder(folder, "output_dir")
    with owned(folder):
        _make_room(folder, args.overwrite)
        recipe, task = read_rows(flags, recipe, load_task)
        space = args.search or default_space(recipe, _settled(args, recipe, task))
        _refuse_solved(args.search, recipe)
        _check_space(args.search, recipe, task)
        search = Search(args, folder, recipe, task, space)
        search.go_on()
        return search.finish()


def _make_room(folder: Path, overwrite: bool) -> None:
    """Make sure that a search may begin here or go on, and that nothing of another kind is lost."""
    there = [name for name in sorted(path.name for path in folder.iterdir()) if name not in (LOCK, OWNER)]
    foreign = [name for name in there if (unfinished(name) or name) not in OURS]
    is_search = (folder / STUDY).is_file()
    in_the_way = [name for name in there if (unfinished(name) or name) in (*OURS, *RESULTS)]
    if (overwrite and foreign) or (in_the_way and not is_search):
        raise InputError(
            f"{folder} holds {(foreign or in_the_way)[0]}, which is not a search's: choose another --output_dir"
        )
    if overwrite:
        for name in sorted(there, key=lambda name: name == STUDY):  # the study last: by it the rest is a search's
            delete(folder / name)


def _settled(args: argparse.Namespace, recipe: Recipe, task: Task) -> set[str]:
    """The fields that a flag, the data or a pre-trained model decides."""
    settled = {name for name in FLAGS if getattr(args, name) is not None}
    settled |= {text.partition("=")[0] for text in args.config_overrides} | task.config_fields().keys()
    if getattr(args, "model_name_or_path", None) is not None:  # the body is what was trained before
        settled |= {*recipe.architecture, *WINDOWS, SCALE, "order"} - {*HEAD_FIELDS}
    return settled


def _check_space(space: dict[str, Values], recipe: Recipe, task: Task) -> None:
    """Refuse fields that the data decides, and values that the model's config refuses.

    Raises:
        InputError: the message names the field and the value.
    """
    for name, values in space.items():
        if name in FLAGS or name == SCALE:
            continue
        if name in task.config_fields():
            raise InputError(f"--search {name} has no effect: the data of {task.name} decides it")
        for word in values.ends:
            try:
                make_config({**task.config_fields(), **recipe.architecture, name: plain(word)})
            except Exception as error:
                if not is_expected(error):
                    raise
                raise InputError(f"--search {name}={word}: {one_line(error)}") from error


def _check_names(names: Iterable[str]) -> None:
    """Refuse fields that there are not.

    Raises:
        InputError: there is one; the message suggests another.
    """
    for name in names:
        if name not in FLAGS and name not in LMUConfig.__annotations__:
            raise InputError(f"--search: there is no field {name!r}{_meant(name)}")


def _meant(name: str) -> str:
    """The field that was most likely meant, as the end of a message."""
    if flag := next((flag for flag, (field, _) in FLAGS.items() if field == name), None):
        return f"; did you mean {flag!r}?"
    near = get_close_matches(name, [*FLAGS, *LMUConfig.__annotations__], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _refuse_solved(asked: dict[str, Values], recipe: Recipe) -> None:
    """Refuse a model whose weights are found in closed form: none of the fields would change them.

    Raises:
        InputError: they are; the message says what trains them.
    """
    drawn = recipe.kind == "series-classification" and recipe.architecture.get("pooling") == SHARE
    solved = recipe.solved and not set(LENGTHS) & set(asked)  # a number of epochs trains them further
    if solved or (drawn and recipe.baseline_of is None):
        raise InputError(
            f"the weights of {recipe.name} are solved in closed form, so there is nothing to search: "
            f"{WITHOUT_GRADIENTS[recipe.kind]}"
        )


class Search:
    """A search under way: the study in its folder, and what each trial is tried with.

    Args:
        args: as the verb parsed them.
        folder: the search's, which this process holds.
        recipe, task: as the flags and the rows make them.
        space: the fields that are searched.

    Raises:
        InputError: the folder holds another search, or a study that cannot be read.
    """

    def __init__(
        self, args: argparse.Namespace, folder: Path, recipe: Recipe, task: Task, space: dict[str, Values]
    ) -> None:
        self.args, self.folder, self.recipe, self.space = args, folder, recipe, space
        self.metric, self.has_test = task.metric, "test" in task.splits
        # Asked before any trial changes what this process was started with.
        self.command = typed_command()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        path = folder / STUDY
        with explained(f"{path} cannot be read; --overwrite_output_dir begins anew"):
            self.study = optuna.create_study(
                # Not put together by hand: a folder's name may hold what means something in a URL.
                storage=URL.create("sqlite", database=str(path)).render_as_string(),
                study_name="search",
                direction="minimize" if task.lower_is_better else "maximize",
                pruner=optuna.pruners.MedianPruner(n_startup_trials=BEFORE_PRUNING),
                load_if_exists=True,
            )
        self._check_same(_identity(args, task, space))

    def _check_same(self, asked: dict[str, str]) -> None:
        """Refuse to mix the trials of two searches."""
        if not self.study.trials:
            self.study.set_user_attr("search", asked)
            return
        there = self.study.user_attrs.get("search", {})
        for name in (name for name in {**there, **asked} if there.get(name) != asked.get(name)):
            raise InputError(
                f"{self.folder} holds a search with {name} {there.get(name, 'not given')}, and this one has it "
                f"{asked.get(name, 'not given')}: give the same flags, or another --output_dir, or "
                "--overwrite_output_dir"
            )

    def go_on(self) -> None:
        """Try settings until there are enough trials or the time is over.

        Raises:
            InputError: the test of the best trial has been read, and more trials are asked for.
        """
        for trial in self._trials(TrialState.RUNNING):  # this process holds the folder, so nobody runs them
            self.study.tell(trial.number, state=TrialState.FAIL)
        if not self._is_over():
            if self._test_is_read():
                raise InputError(
                    f"the search in {self.folder} has ended and its test has been read, after which nothing more may "
                    "be chosen: another --output_dir begins a new one"
                )
            print("searching " + "; ".join(f"{name} {say(values)}" for name, values in self.space.items()))
            self._enqueue_own()
        while not self._is_over():
            self._try_one()

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states or None)

    def _begun(self) -> list[FrozenTrial]:
        return [trial for trial in self._trials() if trial.state != TrialState.WAITING]

    def _is_over(self) -> bool:
        begun, minutes = self._begun(), self.args.search_minutes
        if not begun or minutes is None:
            return len(begun) >= self.args.trials
        seconds = [trial.user_attrs["seconds"] for trial in begun if "seconds" in trial.user_attrs]
        mean = sum(seconds) / max(1, len(seconds))
        return len(begun) >= self.args.trials or sum(seconds) + mean > 60 * minutes

    def _test_is_read(self) -> bool:
        path = self.folder / BEST
        return (path / "run.json").is_file() and "test" in RunRecord.read(path).metrics

    def _enqueue_own(self) -> None:
        """Have the recipe's own values tried next, if they lie in the space and no trial has ended with them."""
        defaults = {name: getattr(LMUConfig, name, None) for name in LMUConfig.__annotations__}
        own = {name: within(values, own_value(self.recipe, name, defaults)) for name, values in self.space.items()}
        done = self._trials(TrialState.COMPLETE, TrialState.PRUNED, TrialState.WAITING)
        if None not in own.values() and not any(OWN in trial.user_attrs for trial in done):
            self.study.enqueue_trial(own, user_attrs={OWN: True})

    def _try_one(self) -> None:
        """Try the next settings, and note what came of them."""
        # A sampler of its own for each trial: one that went on would draw the same again after a restart.
        seed = (self.args.seed + len(self._trials())) % 2**32
        self.study.sampler = optuna.samplers.TPESampler(seed=seed)
        trial, start = self.study.ask(), time.monotonic()
        settings = suggest(trial, self.space)
        trial.set_user_attr("settings", settings)
        state, value, why = TrialState.FAIL, None, "ended from outside"
        try:
            state, value, why = self._outcome(trial, settings)
        finally:  # also where the whole search ends here
            trial.set_user_attr("seconds", round(time.monotonic() - start, 1))
            trial.set_user_attr("why", why)
            self.study.tell(trial, value, state)
            self._tidy()
        print(say_trial(self._trials()[trial.number], self.metric), flush=True)

    def _outcome(self, trial: optuna.Trial, settings: dict[str, str]) -> tuple[TrialState, float | None, str]:
        """Run a trial: its state, its score on validation, and why it has none."""
        try:
            record = self._run(self.folder / TRIALS / str(trial.number), settings, trial)
        except optuna.TrialPruned as pruned:
            return TrialState.PRUNED, None, str(pruned)
        except Exception as error:
            lost = isinstance(error, FloatingPointError | MemoryError) or type(error).__name__ == "OutOfMemoryError"
            # What is wrong with the first trial is most likely wrong with all of them.
            if not lost and not (isinstance(error, ValueError) and self._trials(TrialState.COMPLETE)):
                raise
            return TrialState.FAIL, None, one_line(error).partition("; ")[0]
        finally:
            gc.collect()  # the model, before the next one is made
        return TrialState.COMPLETE, record.metrics["validation"][record.metric], ""

    def _run(self, folder: Path, settings: dict[str, str], trial: optuna.Trial | None = None) -> RunRecord:
        """An ordinary run, as if its command had been typed; one that ended earlier reads its test.

        Args:
            folder: the run folder.
            settings: of the fields that are searched.
            trial: which is stopped where it is worse than others; None to go on with what is in the folder.
        """
        words = [*self._words(settings), *(["--skip_test"] if trial is not None else [])]
        typed, sys.argv = sys.argv, [sys.argv[0], "train", self.args.kind, *words]
        try:
            args = import_module(f".verbs.{VERBS[f'train {self.args.kind}'].module}", __package__).parse_args(words)
            check_paths(args)
            args.output_dir = folder
            args.resume_from_checkpoint = None if trial is not None else "auto"
            watch = None if trial is None else partial(_watch, trial, f"validation_{self.metric}")
            what_next = f"the search goes on, without this trial, by: {self.command}"
            with (self.folder / LOG).open("a", encoding="utf-8") as log, redirect_stdout(log):
                print(f"\n{shlex.join([COMMAND, *sys.argv[1:]])}")
                return run(args, load_task, watch=watch, what_next=what_next)
        finally:
            sys.argv = typed

    def _words(self, settings: dict[str, str]) -> list[str]:
        """The words of a trial's command, behind the verb."""
        _, words = split_words(self.args.words, {"--config_overrides"})
        return words + command_words(settings, self.recipe.architecture, self.args.config_overrides)

    def _best(self) -> FrozenTrial | None:
        return self.study.best_trial if self._trials(TrialState.COMPLETE) else None

    def _tidy(self) -> None:
        """Write the table, and delete weights and checkpoints of all trials but the best."""
        write_table(self.folder / TABLE, [row_of(trial, self.metric, self.space) for trial in self._begun()])
        best = self._best()
        for path in (self.folder / TRIALS).glob("*"):
            if best is None or path.name != str(best.number):
                delete(path / "model")
                delete(path / "checkpoints")

    def finish(self) -> RunRecord:
        """Make the best trial a run of its own, read its test, and print all; its record.

        Raises:
            InputError: no trial came to its end.
        """
        best, folder = self._best(), self.folder / BEST
        if best is None:
            raise InputError(f"no trial came to its end: {self.folder / TABLE} says why")
        settings = best.user_attrs["settings"]
        if not self._test_is_read():
            self._keep(best, folder)
            if self.has_test and not self.args.skip_test:
                self._run(folder, settings)
        print(plain_table([row_of(trial, self.metric, self.space) for trial in self._begun()], self.study.direction))
        record = tell(folder, RunRecord.read(folder))
        command = shlex.join([COMMAND, "train", self.args.kind, *self._words(settings)])
        print(f"best is trial {best.number}, of {len(self._begun())}; this trains it again:\n  {command}")
        return record

    def _keep(self, best: FrozenTrial, folder: Path) -> None:
        """Copy the best trial's run folder."""
        with folder_written_whole(folder) as staged:
            leave = shutil.ignore_patterns(LOCK, OWNER, "checkpoints")
            shutil.copytree(self.folder / TRIALS / str(best.number), staged, ignore=leave)


def _identity(args: argparse.Namespace, task: Task, space: dict[str, Values]) -> dict[str, str]:
    """What two searches must agree in for their trials to be compared, by what it is called."""
    given = {name: str(getattr(args, name)) for name in sorted(args.given) if name not in IMMATERIAL}
    searched = {f"--search {name}": say(values) for name, values in space.items()}
    of_rows = {"the fingerprint of the rows": str(task.describe()["fingerprint"])}
    return {
        "the verb": f"train {args.kind}",
        **{f"--{name}": said for name, said in given.items()},
        **searched,
        **of_rows,
    }


def _watch(trial: optuna.Trial, name: str, row: dict, share: float) -> None:
    """Report an evaluation, and stop a trial that is worse than others were at the same share of their steps.

    Raises:
        optuna.TrialPruned: it is.
    """
    trial.report(row[name], step=round(1000 * share))
    if share < 1 and trial.should_prune():
        raise optuna.TrialPruned(f"stopped after {share:.0%} of its steps: worse than the median of other trials")
