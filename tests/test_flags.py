"""Every flag of every script: it changes what is done, or it is refused by its name. A new one must be entered here."""

import importlib.util
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from lmu_hf.cli.command import VERBS
from lmu_hf.cli.flags import SEED, Flags, ScriptParser, number, output_file
from lmu_hf.cli.loading import PLANS, load_task
from lmu_hf.cli.reading import reading
from lmu_hf.cli.train import asked_recipe, asked_running
from lmu_hf.data.tables import ReadOptions
from lmu_hf.training.recipes import get_recipe

PROJECT = Path(__file__).parents[1]
RUNNABLE = {
    path.stem: path for folder in ("scripts", "report", "benchmarks") for path in (PROJECT / folder).glob("*.py")
}
OF_A_RUN = {  # a value of each flag of every training script, beside the run folder, the seed and the recipe
    **{
        "baseline": "lstm",
        "optim": "muon",
        "learning_rate": "0.5",
        "weight_decay": "0.5",
        "layer_decay": "0.5",
        "num_train_epochs": "7",
    },
    **{"max_train_steps": "7", "eval_steps": "7", "per_device_train_batch_size": "7", "averaging": "0.5"},
    **{"gradient_accumulation_steps": "7", "lr_scheduler_type": "linear", "warmup_ratio": "0.5", "max_grad_norm": "7"},
    **{"label_smoothing_factor": "0.5", "early_stopping_patience": "7", "config_overrides": "initializer_range=0.5"},
    **{"checkpointing_steps": "7", "save_total_limit": "7", "resume_from_checkpoint": "auto", "report_to": "wandb"},
    **{"overwrite_output_dir": None, "dataloader_num_workers": "7", "mixed_precision": "bf16", "skip_test": None},
    **{"torch_compile": None, "sequence_parallel": None},
    **{"quiet": None, "seed": "7", "output_dir": "elsewhere", "recipe": None, "baseline": "lstm"},
}
OF_DATA = {  # a value of each flag that says which data is read
    **{"data_dir": "data", "task_name": "rte", "dataset_name": "org/own", "dataset_config_name": "large"},
    **{"train_file": "own.csv", "validation_file": "dev.csv", "test_file": "test.csv", "extra_train_file": "more.csv"},
    **{"text_column": "a", "text_pair_column": "b", "label_column": "c", "max_length": "7", "train_split": "first"},
    **{"validation_split": "dev", "validation_split_percentage": "7", "tokenizer_name": "org/name"},
    **{"model_name_or_path": "org/name", "word_vectors": "glove.txt", "freeze_word_vectors": None, "rows": "77"},
    **{"from_scratch": None},
    **{"preprocessing_num_workers": "7", "validation_block": "7", "source_lang": "fr", "target_lang": "vi"},
    **{"tokens_column": "a", "tags_column": "b", "id_column": "a", "value_columns": "x y"},
    **{"path_column": "a", "group_column": "b", "path_pattern": "{label}/*", "held_out_group": "theo"},
    **{"sampling_rate": "7", "noise_db": "7"},
    **{"image_size": "7", "colour": None, "grey": None, "no_augmentation": None},
    **{"time_column": "a", "target_columns": "b,c", "covariate_columns": "d", "season": "7", "longest_gap": "7"},
    **{"prediction_length": "7", "context_length": "7", "split_steps": "70 7 7", "quantiles": "0.5"},
    **{"horizon": "7", "series_seed": "7", "permutation_seed": "7", "tokenizer": "word", "vocab_size": "77"},
    **{"block_size": "7", "minutes": "7", "label_separator": "|", "problem_type": "multi"},
    **{"metric_for_best_model": "macro_f1"},
    **{"delimiter": ";", "encoding": "cp1252", "field": "data", "column_names": "a", "drop_incomplete_rows": None},
    **{"source_column": "a", "target_column": "b", "source_file": "a.en", "target_file": "a.de"},
    **{"validation_source_file": "b.en", "validation_target_file": "b.de"},
    **{"test_source_file": "c.en", "test_target_file": "c.de"},
}
READING = {"delimiter", "encoding", "field", "column_names", "drop_incomplete_rows"}
WORDS = {
    "max_length",
    "tokenizer_name",
    "model_name_or_path",
    "word_vectors",
    "extra_train_file",
    "freeze_word_vectors",
}
WORDS |= {"preprocessing_num_workers", "metric_for_best_model"}
OWN = {"text_column", "text_pair_column", "label_column", "validation_block", "label_separator", "problem_type"}
TEXT = {"preprocessing_num_workers", "validation_file", "validation_split_percentage"}
MODELS = ("tokenizer_name", "model_name_or_path")
TAGGERS = {"max_length", "tokenizer_name", "model_name_or_path", "preprocessing_num_workers"}
OF_TAGS = {"tokens_column", "tags_column", "validation_block"}
FORECASTS = {"prediction_length", "context_length", "split_steps", "quantiles"}
# Per script and source of rows: the flags that name the source, and the data flags that say something to it.
CASES: dict[str, tuple[str, list[str], set[str]]] = {
    "digits": ("train image", ["--recipe", "digits"], {"permutation_seed"}),
    "mnist": ("train image", [], {"permutation_seed", "dataset_name", "data_dir"}),
    "pictures": (
        *("train image", ["--data_dir", "pictures"]),
        {"permutation_seed", "dataset_name", "image_size", "colour", "grey", "no_augmentation", "minutes"},
    ),
    "forecast": ("train forecast", ["--recipe", "mackey-glass"], {"horizon", "series_seed"}),
    "made-up hours": ("train forecast", [], {*FORECASTS, "rows", "train_file"}),
    "table of series": (
        *("train forecast", ["--train_file", "a.csv"]),
        {*FORECASTS, *READING} - {"drop_incomplete_rows"}
        | {"time_column", "target_columns", "covariate_columns", "season", "longest_gap"},
    ),
    "made-up waves": ("train series", [], {"rows", "train_file"}),
    "series file": (
        *("train series", ["--train_file", "a.ts"]),
        {"id_column", "time_column", "label_column", "value_columns", "validation_file", "test_file", *READING},
    ),
    "archive set": ("train series", ["--dataset_name", "Walks", "--data_dir", "."], {"dataset_name", "data_dir"}),
    "chirps": ("train audio", [], {"rows", "train_file"}),
    "table of sounds": (
        *("train audio", ["--train_file", "a.csv"]),
        {
            *("path_column", "label_column", "group_column", "path_pattern", "held_out_group", "sampling_rate"),
            *("validation_file", "test_file", "minutes", *READING),
        },
    ),
    "dates": (
        *("train translation", []),
        {"source_lang", "target_lang", "rows", "dataset_name", "train_file", "vocab_size", "max_length"},
    ),
    "parallel": (
        *("train translation", ["--recipe", "multi30k"]),
        {
            *("source_lang", "target_lang", "dataset_name", "data_dir", "train_file", "drop_incomplete_rows"),
            *("vocab_size", "max_length"),
        },
    ),
    "table of pairs": (
        *("train translation", ["--train_file", "a.csv"]),
        {
            *("source_lang", "target_lang", "source_column", "target_column", "validation_file", "test_file"),
            *("vocab_size", "max_length", "minutes", *READING),
        },
    ),
    "pairs of the Hub": (
        *("train translation", ["--dataset_name", "org/pairs"]),
        {"source_lang", "target_lang", "data_dir", "vocab_size", "max_length", "minutes", "drop_incomplete_rows"},
    ),
    "sources": (
        *("train lm", []),
        {"preprocessing_num_workers", "dataset_name", "train_file", *MODELS, "block_size"},
    ),
    "text file": ("train lm", ["--train_file", "a.txt"], {*TEXT, *MODELS, "encoding", "minutes", "block_size"}),
    "table of text": (
        *("train lm", ["--train_file", "a.csv"]),
        {*TEXT, *MODELS, *READING, "text_column", "minutes", "block_size"},
    ),
    "data set of text": (
        *("train lm", ["--dataset_name", "org/text"]),
        {
            *("preprocessing_num_workers", "data_dir", "dataset_config_name", "text_column", "train_split"),
            *("validation_split", "validation_split_percentage", *MODELS, "minutes", "block_size"),
        },
    ),
    "text": (
        *("pretrain", []),
        {
            *("preprocessing_num_workers", "dataset_name", "data_dir", "dataset_config_name", "text_column"),
            *("train_split", "validation_split", "validation_split_percentage", "train_file", "tokenizer_name"),
            *("tokenizer", "vocab_size", "block_size", "model_name_or_path"),
        },
    ),
    "made-up sentences": ("train text", [], {*WORDS, "rows", "dataset_name", "train_file", "task_name"}),
    "labelled file": (
        *("train text", ["--train_file", "a.csv"]),
        {*WORDS, *OWN, *READING, "validation_file", "test_file", "minutes", "from_scratch"},
    ),
    "labelled data set": (
        *("train text", ["--recipe", "imdb"]),
        {*WORDS, *OWN, "dataset_name", "dataset_config_name", "data_dir", "train_file", "task_name"},
    ),
    "made-up names": (
        *("train tokens", []),
        {*TAGGERS, "rows", "dataset_name", "train_file"},
    ),
    "tagged file": (
        *("train tokens", ["--train_file", "a.jsonl"]),
        {*TAGGERS, *OF_TAGS, *READING, "validation_file", "test_file"},
    ),
    "tagged data set": (
        *("train tokens", ["--dataset_name", "org/tagged"]),
        {*TAGGERS, *OF_TAGS, "dataset_config_name", "data_dir"},
    ),
    "GLUE": (
        *("train text", ["--task_name", "sst2"]),
        {*WORDS, "validation_block", "data_dir", "task_name", "minutes", "from_scratch"},
    ),
}


def module_of(name: str) -> Any:
    """The module of a verb, or of a script that is none."""
    if name in VERBS:
        return import_module(f"lmu_hf.cli.verbs.{VERBS[name].module}")
    spec = importlib.util.spec_from_file_location(name, RUNNABLE[name])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MODULES = {name: module_of(name) for name in {script for script, _, _ in CASES.values()}}


def flat(value: Any) -> Any:
    """A plan as something that can be compared."""
    if isinstance(value, partial):
        return value.func, flat(value.args), flat(value.keywords)
    if isinstance(value, dict):
        return {key: flat(item) for key, item in value.items()}
    return tuple(map(flat, value)) if isinstance(value, tuple | list) else value


def decided(script: str, words: list[str]) -> tuple:
    """All that a training script would do, before it reads any data; refused if a flag would say nothing."""
    args = MODULES[script].parse_args(words)
    flags = Flags(args)
    recipe, running = asked_recipe(flags), asked_running(flags)
    run = flags.seed, flags.output_dir
    plan = PLANS[recipe.kind](flags, recipe)
    flags.refuse_unread(f"{recipe.name}, which reads {plan.source}")
    return recipe, running, run, flat(plan.make)


@pytest.fixture(scope="module")
def parsers() -> dict[str, ScriptParser]:
    """The parser of each script, caught as it parses."""
    caught: dict[str, ScriptParser] = {}
    parse = ScriptParser.parse_args

    def catch(self, *words, **how):
        caught[name] = self
        raise SystemExit

    ScriptParser.parse_args = catch
    try:
        for name in [*VERBS, *RUNNABLE]:
            module = module_of(name)
            reads = getattr(module, "parse_args", None) or getattr(module, "main", None)
            if reads is not None and ("ScriptParser" in vars(module) or hasattr(module, "training_parser")):
                with pytest.raises(SystemExit):
                    reads([])
    finally:
        ScriptParser.parse_args = parse
    return caught


def test_every_flag_says_what_it_sets_and_its_default(parsers):
    for script, parser in parsers.items():
        for action in parser._actions:
            told, name = str(action.help), f"{script}: {action.dest}"
            assert len(told.split()) >= 3 and told[0] not in "(0123456789", name
            if action.option_strings and action.nargs != 0:
                assert "default" in told, name


def flags_of(parser: ScriptParser) -> set[str]:
    return {
        action.dest for action in parser._actions if action.option_strings and action.dest not in ("help", "help_all")
    }


@pytest.mark.parametrize("case", CASES)
def test_every_training_flag_has_an_effect_or_is_refused_by_name(case, parsers):
    script, source, says = CASES[case]
    plain = decided(script, source)
    named = {word.removeprefix("--") for word in source if word.startswith("--")}
    for flag in sorted(flags_of(parsers[script]) - named - {"recipe"}):
        value = {**OF_A_RUN, **OF_DATA}[flag]
        words = [*source, f"--{flag}", *([] if value is None else value.split())]
        if flag in OF_A_RUN or flag in says:
            if flag == "freeze_word_vectors":
                words += ["--word_vectors", "glove.txt"]
            if flag == "optim" and plain[0].optimizer == value:
                words[-1] = "adamw"
            assert decided(script, words) != plain, flag
        else:
            with pytest.raises((ValueError, SystemExit)) as told:
                decided(script, words)
            assert isinstance(told.value, SystemExit) or f"--{flag}" in str(told.value), flag


def test_a_refused_flag_is_named_with_the_data_that_is_read():
    for script, words, message in (
        (
            "train image",
            "--recipe digits --dataset_name mine",
            "--dataset_name has no effect on digits, which reads",
        ),
        (
            "train forecast",
            "--recipe mackey-glass --data_dir nowhere",
            "--data_dir has no effect on mackey-glass, which reads",
        ),
        ("train translation", "--data_dir nowhere", "--data_dir has no effect on dates, which reads dates and"),
        (
            "train translation",
            "--recipe multi30k --rows 99",
            "--rows has no effect on multi30k, which reads the",
        ),
        ("train lm", "--text_column a", "--text_column has no effect on python-sources, which reads the standard"),
        (
            "train text",
            "--task_name rte --text_column a",
            "--text_column has no effect on own-text, which reads the",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            load_task(*_asked(script, words.split()))


def _asked(script: str, words: list[str]) -> tuple[Flags, Any]:
    args = MODULES[script].parse_args(words)
    flags = Flags(args)
    recipe = asked_recipe(flags)
    flags.read |= {"recipe"}
    return flags, recipe


@pytest.mark.parametrize(
    "script, words, message",
    [
        ("train text", "--num_train_epochs 2 --max_train_steps 3", "one of --num_train_epochs and --max_train_steps"),
        ("train lm", "--torch_compile --sequence_parallel", "one of --torch_compile and --sequence_parallel"),
        ("train text", "--overwrite_output_dir --resume_from_checkpoint auto", "one of --overwrite_output_dir"),
        ("train text", "--lr_scheduler_type constant --warmup_ratio 0.1", "--warmup_ratio has no effect on"),
        ("train text", "--baseline lstm --config_overrides theta=7", "theta has no effect on an LSTM"),
        (
            "train text",
            "--model_name_or_path m --config_overrides order=7",
            "order has no effect on the body that",
        ),
        ("train lm", "--model_name_or_path m --config_overrides order=7", "order has no effect on the body that"),
        ("pretrain", "--model_name_or_path m --tokenizer_name t", "--tokenizer_name has no effect beside"),
        ("train text", "--word_vectors v --config_overrides embedding_size=7", "embedding_size has no effect beside"),
        ("train text", "--config_overrides nosuch=5", "--config_overrides: LMUConfig has no field 'nosuch'"),
        ("pretrain", "--validation_split a --validation_split_percentage 5", "--validation_split has no effect on"),
        ("train text", "--train_file a.csv --dataset_name b", "one of --train_file and --dataset_name"),
        ("train translation", "--train_file a.csv --dataset_name b", "one of --train_file and --dataset_name"),
        ("train translation", "--recipe multi30k --minutes 3", "--minutes has no effect on multi30k, which reads the"),
        ("train translation", "--recipe own-translation", "own-translation needs --train_file, --source_file and"),
        ("train translation", "--validation_file a.csv", "--validation_file needs --train_file, or --source_file"),
    ],
)
def test_flags_of_which_one_silences_another_are_refused(script, words, message):
    with pytest.raises((ValueError, SystemExit)) as told:
        decided(script, words.split())
    assert isinstance(told.value, SystemExit) or message in str(told.value)


def test_epochs_count_where_the_recipe_counts_steps():
    assert get_recipe("python-sources").max_steps
    recipe = decided("train lm", ["--num_train_epochs", "3"])[0]
    assert (recipe.max_steps, recipe.epochs) == (None, 3)


def test_rows_of_a_task_of_glue_make_the_recipe_unless_one_is_named():
    for task in ("sst2", "rte", "mnli-mm"):
        assert decided("train text", ["--task_name", task])[0].name == "own-text"
    assert decided("train text", ["--task_name", "rte", "--recipe", "opinions"])[0].name == "opinions"


REFUSED = [
    ("label", ["m", "--train_file", "a.csv"], ["--data_dir", "d"]),
    ("label", ["m", "--train_file", "a.csv"], ["--split", "test"]),
    ("label", ["m", "--data_dir", "pictures"], ["--split", "test"]),
    ("label", ["m", "--data_dir", "pictures"], ["--text_column", "a"]),
    ("label", ["m", "--data_dir", "pictures"], ["--encoding", "cp1252"]),
    ("label", ["m", "--train_file", "a.csv"], ["--dataset_config_name", "c"]),
    ("generate", ["--temperature", "0"], ["--top_k", "5"]),
    ("generate", ["--temperature", "0"], ["--seed", "5"]),
    ("export", ["m", "f", "--format", "pt2"], ["--tolerance", "0.1"]),
    ("train vectors", ["--train_file", "a.txt"], ["--data_dir", "d"]),
    ("train vectors", ["--train_file", "a.txt"], ["--train_split", "s"]),
    ("train vectors", ["--train_file", "a.txt"], ["--text_column", "c"]),
    ("train vectors", ["--train_file", "a.txt", "--algorithm", "lsa"], ["--window", "3"]),
    ("train vectors", ["--train_file", "a.txt", "--algorithm", "lsa"], ["--negative", "3"]),
    ("train vectors", ["--train_file", "a.txt", "--algorithm", "lsa"], ["--num_train_epochs", "3"]),
    ("benchmark_memory", [], ["--order", "3"]),
    ("benchmark_memory", ["--length", "9"], ["--shapes", "psmnist"]),
    ("benchmark_memory", ["--length", "9"], ["--seed", "3"]),
]


@pytest.mark.parametrize("script, words, flag", REFUSED)
def test_other_scripts_refuse_flags_without_effect(script, words, flag, capsys):
    parse = module_of(script).parse_args
    parse(words)
    with pytest.raises(SystemExit) as ended:
        parse([*words, *flag])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"error: {flag[0]} has no effect here: " in line


def test_numbers_out_of_range_are_refused_by_every_flag(parsers, capsys):
    seen = 0
    for parser in parsers.values():
        for action in parser._actions:
            if action.type in (None, Path, output_file) or action.type.__name__ == "str":
                continue
            for value in ("nan", "x", "-1e30"):
                with pytest.raises(SystemExit) as ended:
                    parser.parse_known_args([f"{action.option_strings[0]}={value}"])
                assert ended.value.code == 2, action.dest
                assert f"argument {action.option_strings[0]}: " in capsys.readouterr().err.splitlines()[-1]
                seen += 1
    assert seen > 200


@pytest.mark.parametrize("word", ["tab", "TAB", r"\t", "\t"])
def test_a_tab_may_be_named(word):
    args = MODULES["train text"].parse_args(["--train_file", "a.txt", "--delimiter", word, "--column_names", "a", "b"])
    assert reading(Flags(args)) == ReadOptions(delimiter="\t", column_names=("a", "b"))


def test_types_of_numbers_name_their_range():
    assert [number(int, least=1)("3"), number(float, above=0)("0.5"), SEED("0")] == [3, 0.5, 0]
    for read, text, message in (
        (number(int, least=1), "0", "must be at least 1, got 0"),
        (number(float, above=0, below=100), "100", "must be above 0 and below 100, got 100"),
        (number(float), "inf", "must be a finite number, got inf"),
        (SEED, "4294967296", "must be at least 0 and below 4,294,967,296, got 4294967296"),
    ):
        with pytest.raises(Exception, match=message):
            read(text)


def test_a_parser_knows_which_flags_were_given_and_suggests_similar_ones(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["some.py"])
    parser = ScriptParser("manual")
    parser.add_argument("folder", nargs="?", default="here")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recipe", choices=("opinions", "rte"))
    parser.add_argument("--quiet", action="store_true")
    assert parser.parse_args(["there", "--seed", "0", "--quiet"]).given == {"seed", "quiet"}
    assert parser.parse_args([]).given == frozenset()
    for words, near in ((["--sed", "1"], "--seed"), (["--recipe", "opinion"], "opinions")):
        with pytest.raises(SystemExit):
            parser.parse_args(words)
        assert capsys.readouterr().err.splitlines()[-1].endswith(f"; did you mean {near}?")


def test_a_file_to_write_needs_an_existing_folder(tmp_path):
    assert output_file(str(tmp_path / "a.json")) == tmp_path / "a.json"
    for path, message in ((tmp_path, "is a folder"), (tmp_path / "b" / "a.json", "there is no folder .*b to write")):
        with pytest.raises(Exception, match=message):
            output_file(str(path))
