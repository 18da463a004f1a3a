"""How scripts fail: one line for what was to be expected, a traceback for a slip of the program's own."""

import sys
from argparse import Namespace
from pathlib import Path

import pytest
from datasets.exceptions import DatasetGenerationError
from safetensors import SafetensorError
from transformers import AutoConfig

from lmu_hf import LMUConfig
from lmu_hf.cli.failures import script
from lmu_hf.cli.paths import check_paths
from lmu_hf.common.errors import InputError, check_folder, check_model, explained, loading
from lmu_hf.training.checkpoint import CheckpointError


@pytest.fixture(autouse=True)
def name(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["some.py"])
    monkeypatch.delenv("LMU_DEBUG", raising=False)


def failing(error: BaseException):
    @script
    def main():
        raise error

    return main


EXPECTED = [
    (ValueError("two\n  lines"), "some.py: error: two lines"),
    (FileNotFoundError(2, "No such file or directory", "a.csv"), "some.py: error: a.csv: No such file or directory"),
    (PermissionError(13, "Permission denied", "out"), "some.py: error: out: Permission denied"),
    (FloatingPointError("the loss is nan"), "some.py: error: the loss is nan"),
    (CheckpointError("damaged"), "some.py: error: damaged"),
    (SafetensorError("header too small"), "some.py: error: header too small"),
    (DatasetGenerationError("no rows"), "some.py: error: no rows"),
    (Exception("what tokenizers raise"), "some.py: error: what tokenizers raise"),
    (ModuleNotFoundError("No module named 'onnx'"), "some.py: error: No module named 'onnx'"),
    (MemoryError(), "some.py: error: MemoryError"),
]


@pytest.mark.parametrize("error, line", EXPECTED, ids=lambda value: type(value).__name__)
def test_errors_about_files_and_services_are_one_line_whatever_their_class(error, line):
    with pytest.raises(SystemExit) as ended:
        failing(error)()
    assert ended.value.code == line


@pytest.mark.parametrize("error", [TypeError("x"), AttributeError("x"), KeyError("x"), IndexError(), RuntimeError("x")])
def test_a_bug_keeps_its_traceback(error):
    with pytest.raises(type(error)):
        failing(error)()


def test_an_environment_variable_shows_every_traceback(monkeypatch):
    monkeypatch.setenv("LMU_DEBUG", "1")
    with pytest.raises(ValueError, match="here"):
        failing(ValueError("here"))()


def test_an_interruption_is_one_line(capsys):
    with pytest.raises(SystemExit) as ended:
        failing(KeyboardInterrupt())()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "some.py: interrupted\n"


@pytest.mark.parametrize(
    "fields, line",
    [
        ({"theta": "abc"}, "some.py: error: Field 'theta' with value 'abc' doesn't match any type"),
        ({"hidden_size": None}, "some.py: error: Field 'hidden_size' expected int, got NoneType"),
        ({"pooling": "most"}, "some.py: error: pooling must be one of"),
    ],
)
def test_an_invalid_config_names_its_field(fields, line):
    with pytest.raises(SystemExit) as ended:
        script(LMUConfig)(**fields)
    assert str(ended.value.code).startswith(line) and "\n" not in str(ended.value.code)


def test_an_error_inside_a_library_names_the_file_being_read():
    for error, reason in ((KeyError("added_tokens"), "KeyError: 'added_tokens'"), (TypeError("no"), "TypeError: no")):
        with pytest.raises(InputError) as told, explained("a.json cannot be read"):
            raise error
        assert str(told.value) == f"a.json cannot be read: {reason}"


@pytest.mark.parametrize("name", ["runs/gone/model", "./gone", "../gone", "/gone", "here/gone", "a b", "~/gone"])
def test_a_missing_folder_is_named_as_a_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    with pytest.raises(InputError) as told, loading("model", name):
        AutoConfig.from_pretrained(name)
    where = f"no model can be loaded from {name!r}, which is no folder here"
    assert str(told.value) == f"{where}: there is no folder {name!r}"


def test_a_name_that_may_be_on_the_hub_is_not_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert check_model("org/name") == "org/name" and check_model("name") == "name"


def test_a_run_folder_names_the_model_in_it(tmp_path):
    (tmp_path / "run" / "model").mkdir(parents=True)
    with pytest.raises(InputError, match=r"run' holds no config.json$"):
        check_model(str(tmp_path / "run"))
    (tmp_path / "run" / "model" / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"run' holds no config.json: give .*run/model$"):
        check_model(str(tmp_path / "run"))
    with pytest.raises(InputError, match=r"config\.json' is a file: give the folder"):
        check_model(str(tmp_path / "run" / "model" / "config.json"))


def test_a_run_folder_and_the_model_in_it_stand_for_each_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("run/model").mkdir(parents=True)
    Path("run/run.json").write_text("{}")
    Path("run/model/config.json").write_text("{}")
    for given in ("run", "run/model"):
        args = Namespace(model=given, run=Path(given))
        check_paths(args)
        assert (args.model, args.run.resolve()) == ("run/model", Path("run").resolve())
    args = Namespace(model="org/name")
    check_paths(args)
    assert args.model == "org/name"
    with pytest.raises(InputError, match="there is no run folder nowhere"):
        check_paths(Namespace(run=Path("nowhere")))


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(InputError, match=f"--output_dir {path} cannot be made: .*file is a file"):
            check_folder(path, "output_dir")
    with pytest.raises(InputError, match=r"--output_dir x+ cannot be made: File name too long"):
        check_folder(Path("x" * 300), "output_dir")
    check_folder(tmp_path / "a" / "b", "output_dir")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
