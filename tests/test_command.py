"""The command `lmu-hf`: its verbs, what it imports before flags and paths are checked, and what it says of itself."""

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import lmu_hf
from lmu_hf.cli import checkup, command, data_flags, extras
from lmu_hf.cli.command import VERBS, find_verb, overview
from lmu_hf.cli.verbs import export, train_vectors
from lmu_hf.common.errors import InputError
from lmu_hf.data import labelled, sources, word_vector_training
from lmu_hf.hub.export import FORMATS
from lmu_hf.training.recipes import RECIPES
from lmu_hf_cli import run

PROJECT = Path(__file__).parents[1]
TWINS = sorted(path for path in (PROJECT / "scripts").glob("*.py") if "lmu_hf_cli import run" in path.read_text())
SLOW = ("torch", "transformers", "datasets", "accelerate", "matplotlib", "sklearn", "optuna")
# Runs command lines in one process, which refuses whatever takes seconds to import.
GUARDED = """
import contextlib, io, json, runpy, sys
class Guard:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in SLOW:
            raise AssertionError(f"{name} is imported")
SLOW, lines = json.loads(sys.argv[1]), json.loads(sys.argv[2])
sys.meta_path.insert(0, Guard())
from lmu_hf_cli import main
ends = []
for words in lines:
    sys.argv, out = words, io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            runpy.run_path(words[0], run_name="__main__") if words[0].endswith(".py") else main()
        end = 0
    except SystemExit as ended:
        end = ended.code
    ends.append([end, out.getvalue()])
print(json.dumps(ends))
"""


def guarded(*lines: list[str], cwd: Path) -> list[tuple[int | str, str]]:
    """How each of some command lines ends, in a process that may not import torch, and what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", GUARDED, json.dumps(SLOW), json.dumps(lines)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_help_imports_nothing_slow(tmp_path):
    lines = [["lmu-hf", *verb.split(), "--help"] for verb in VERBS] + [[str(path), "--help"] for path in TWINS]
    assert len(TWINS) == 16
    for words, (end, text) in zip(lines, guarded(*lines, cwd=tmp_path), strict=True):
        assert end == 0, words
        assert words[0] != "lmu-hf" or text.startswith(f"usage: {' '.join(words[:-1])} ")
        example = f"\n    {'lmu-hf' if words[0] == 'lmu-hf' else 'python scripts/'}"
        assert example in text.replace('echo "import re" | ', "") and "other:" in text  # flags by their groups
        assert text.count("\n") < 120  # on a terminal of 80 columns; --help_all has the rest


def test_wrong_flags_are_refused_before_slow_imports(tmp_path):
    cases = [
        (["train", "text", "--train_fil", "a.csv"], "lmu-hf train text: error: .*; did you mean --train_file?"),
        (["train", "text", "--recipe", "opinons"], "there is no recipe 'opinons'; did you mean opinions?"),
        (["train", "text", "--recipe", "psmnist"], "'psmnist' is a recipe for other data"),
        (["train", "text", "--train_file", "a.csv"], "lmu-hf: error: --train_file a.csv: there is no such file"),
        (["train", "image", "--data_dir", "a"], "lmu-hf: error: --data_dir a: there is no such folder"),
        (["train", "lm", "--num_train_epochs", "1", "--max_train_steps", "1"], "only one of --num_train_epochs and"),
        (["tune", "text", "--train_file", "a.csv"], "lmu-hf: error: --train_file a.csv: there is no such file"),
        (["tune", "text", "--search", "theta=4"], "lmu-hf tune: error: argument --search: theta=4: give two values"),
        (["tune", "text", "--trails", "4"], "lmu-hf tune: error: .*; did you mean --trials?"),
        (["tune", "vectors"], "lmu-hf tune: error: argument kind: invalid choice: 'vectors'"),
        (["train", "lm", "--output_dir", "/dev/null/a"], "--output_dir /dev/null/a cannot be made"),
        (["evaluate", "./a/model"], "lmu-hf: error: there is no folder './a/model'"),
        (["export", "./a/model", "b"], "lmu-hf: error: there is no folder './a/model'"),
        (["push", "a"], "lmu-hf: error: there is no run folder a"),
        (["label", "m", "--train_file", "a.csv"], "lmu-hf: error: --train_file a.csv: there is no such file"),
        (["generate", "--load_memory", "a", "m"], "lmu-hf: error: --load_memory a: there is no such file"),
        (["train", "image", "--train_file", "a"], "unrecognized arguments: --train_file a; did you mean --data_dir?"),
        (["generate", "--model", "m"], "lmu-hf generate: error: --model: the model is given without a flag"),
        (["evaluate", "--model_name_or_path", "m"], "--model_name_or_path: the model is given without a flag"),
        (["trian", "text"], "lmu-hf: error: there is no verb 'trian text'; did you mean 'train text'?"),
        (["train", "txt"], "lmu-hf: error: there is no verb 'train txt'; did you mean 'train text'?"),
        (["evalute", "m"], "lmu-hf: error: there is no verb 'evalute'; did you mean 'evaluate'?"),
    ]
    ends = guarded(*(["lmu-hf", *words] for words, _ in cases), cwd=tmp_path)
    for (words, message), (end, text) in zip(cases, ends, strict=True):
        said = text + (end if isinstance(end, str) else "")
        head, _, tail = message.partition(".*")
        assert head in said and tail in said, (words, said)
        assert end != 0 and len(said.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_verbs_are_listed_and_found_by_name(capsys):
    assert find_verb(["train", "text", "--seed", "1"]) == ("train text", ["--seed", "1"])
    assert find_verb(["pretrain", "x"]) == ("pretrain", ["x"])
    for words, status, verbs in (
        ([], 0, VERBS),
        (["--help"], 0, VERBS),
        (["train"], 2, [v for v in VERBS if " " in v]),
    ):
        with pytest.raises(SystemExit) as ended:
            find_verb(words)
        assert ended.value.code == status
        assert capsys.readouterr().out.strip() == overview(list(verbs))
    with pytest.raises(SystemExit):
        find_verb(["--version"])
    assert capsys.readouterr().out == f"lmu-hf {lmu_hf.__version__}\n"
    assert {build().kind for build in RECIPES.values()} <= {verb.kind for verb in VERBS.values()}


def test_every_recipe_is_listed_with_what_it_is_for_and_costs(capsys):
    run("recipes", argv=[])
    listed = capsys.readouterr().out
    for name, build in RECIPES.items():
        first = build.__doc__.splitlines()[0]
        assert f"  {name:<24}{first}\n" in listed
        cost = next((line.strip() for line in build.__doc__.splitlines() if "Cost: " in line), "Cost: ")
        assert cost.removeprefix("Cost: ") in listed
    run("recipes", argv=["psmnist"])
    whole = capsys.readouterr().out
    assert whole.startswith("lmu-hf train image --recipe psmnist\n") and "Source: " in whole


def test_choices_of_the_parsers_are_those_of_the_modules():
    assert set(data_flags.GLUE_TASKS) == {*labelled.GLUE_COLUMNS, "mnli-mm"}
    assert data_flags.SPLITS == sources.SPLITS
    assert export.FORMATS == FORMATS
    assert train_vectors.ALGORITHMS == word_vector_training.ALGORITHMS


def test_a_missing_extra_is_one_line_with_the_command_that_brings_it(monkeypatch, tmp_path):
    asked = {"train": [Requirement("torch>=2"), Requirement("no-such-package>=3")], "export": []}
    monkeypatch.setattr(extras, "extras", lambda: asked)
    assert extras.missing("train") == ["no-such-package>=3"] and extras.missing("export") == []
    monkeypatch.setattr(sys, "argv", ["lmu-hf"])
    with pytest.raises(SystemExit) as ended:
        run("train text", argv=["--output_dir", str(tmp_path / "run")])
    assert ended.value.code == "lmu-hf: error: this needs no-such-package>=3: pip install 'lmu-hf[train]'"
    asked["train"] = [Requirement("torch>=99")]  # too old is missing, too
    assert extras.missing("train") == ["torch>=99"]


def test_extras_are_read_from_the_installed_package(monkeypatch):
    found = extras.extras()
    assert {"train", "export"} <= set(found) and "datasets" in {asked.name for asked in found["train"]}
    assert "onnx" not in {asked.name for asked in found["train"]}

    def lacking(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(extras, "distribution", lacking)
    assert extras.extras() == {} and extras.missing("train") == []
    assert checkup.extra_lines() == ["extras     unknown: lmu-hf runs from a source tree that pip has not installed"]


def test_the_doctor_says_what_there_is_and_finds_a_wrong_memory(capsys, monkeypatch):
    run("doctor", argv=[])
    lines = capsys.readouterr().out.splitlines()
    assert f"torch {version('torch')}" in lines[0]
    assert [line.split()[0] for line in lines[1:5]] == ["processor", "threads", "devices", "products"]
    assert "LMU_HF_MATMUL=torch" in lines[4] and " GFLOP/s" in lines[4]  # as conftest.py sets it
    told = {line.split()[1] for line in lines if line.startswith("extra ")}
    assert told == {f"{name}:" for name in extras.extras() if name != "dev"}
    assert lines[-1].endswith("the memory computes here what it should")
    assert set(checkup.self_test()) == {"recurrent", "toeplitz", "fft", "chunked", "scanned", "final"}
    right = checkup.MEMORY_FORMS["chunked"]
    wrong = {**checkup.MEMORY_FORMS, "chunked": lambda u, system: tuple(1.001 * m for m in right(u, system))}
    monkeypatch.setenv("LMU_HF_MATMUL", "abacus")
    with pytest.raises(InputError, match="LMU_HF_MATMUL must be auto, torch or onednn, got 'abacus'"):
        checkup.check_up()
    monkeypatch.setenv("LMU_HF_MATMUL", "torch")
    monkeypatch.setattr(checkup, "MEMORY_FORMS", wrong)
    with pytest.raises(InputError, match="the form 'chunked' of the memory is off by 1e-03"):
        checkup.check_up()


def test_importing_the_package_registers_the_auto_classes():
    code = "import lmu_hf; from transformers import AutoConfig, AutoModel; "
    code += "print(type(AutoModel.from_config(AutoConfig.for_model('lmu', vocab_size=5))).__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "LMUModel\n", done.stderr


def test_the_command_registers_the_family_only_when_it_is_used():
    code = "import lmu_hf_cli, sys, lmu_hf; assert 'torch' not in sys.modules and lmu_hf.__version__; "
    code += "from lmu_hf import LMUConfig; from transformers import AutoConfig; "
    code += "assert type(AutoConfig.for_model('lmu')) is LMUConfig; print(len(lmu_hf.LMUModel.__name__))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "8\n", done.stderr
    assert set(lmu_hf.__all__) == {*lmu_hf.auto_lmu.__all__, "__version__"}


def test_every_verb_has_a_module_with_parse_args_and_start():
    for verb in VERBS.values():
        module = command.import_module(f"lmu_hf.cli.verbs.{verb.module}")
        assert callable(module.parse_args) and callable(module.start)
