"""The scripts as a person runs them: from another directory, with a wrong flag, with several processes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoConfig

from lmu_hf import LMUConfig, LMUForSequenceClassification, train_tokenizer
from lmu_hf.common.record import RunRecord
from lmu_hf.data.word_vectors import read_word_vectors
from lmu_hf.training.transfer import transfer_body
from script_runs import ENVIRONMENT
from script_runs import run_script as run
from speed import speed_summary, speed_table, training_summary, training_table

PROJECT = Path(__file__).parents[1]
SCRIPTS, REPORT, BENCHMARKS = PROJECT / "scripts", PROJECT / "report", PROJECT / "benchmarks"
RUNNABLE = sorted(
    path for folder in (SCRIPTS, REPORT, BENCHMARKS) for path in folder.glob("*.py") if "__main__" in path.read_text()
)


def run_python(*words: object, cwd: Path, **variables: str) -> subprocess.CompletedProcess:
    """Python as the shell starts it, for what is read from the command line or as modules are imported."""
    command = [sys.executable, *map(str, words)]
    environment = {**os.environ, **ENVIRONMENT, **variables}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", RUNNABLE, ids=lambda path: path.stem)
def test_every_script_shows_its_manual(script, tmp_path):
    done = run(script, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert f"python {script.parent.name}/{script.name}" in done.stdout


@pytest.mark.parametrize("script", RUNNABLE, ids=lambda path: path.stem)
def test_a_misspelt_flag_is_named(script, tmp_path):
    words = ["model", "folder"] if script.stem in ("export_onnx", "ship") else []
    done = run(script, *words, "--sed", "1", cwd=tmp_path)
    assert done.returncode == 2
    assert "unrecognized arguments: --sed" in done.stderr
    assert not list(tmp_path.iterdir())


def test_training_from_another_directory_leaves_a_run_folder_there(tmp_path):
    words = ["--recipe", "digits", "--num_train_epochs", 2, "--quiet"]
    done = run_python(SCRIPTS / "train_psmnist.py", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "digits-perm0-seed0"
    record = RunRecord.read(folder)
    assert record.command == "python train_psmnist.py --recipe digits --num_train_epochs 2 --quiet"
    assert f"test {100 * record.metrics['test']['accuracy']:.2f} %" in done.stdout
    assert (folder / "figures" / "learning_curve.png").stat().st_size > 10_000


def test_a_missing_folder_is_named(tmp_path):
    done = run(SCRIPTS / "train_psmnist.py", "--data_dir", "nowhere", cwd=tmp_path)
    assert done.returncode != 0
    assert done.stderr == "train_psmnist.py: error: --data_dir nowhere: there is no such folder\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words, message",
    [
        (["--num_train_epochs", 0], "argument --num_train_epochs: must be positive, got 0"),
        (["--learning_rate", -1], "argument --learning_rate: must be positive, got -1"),
    ],
)
def test_an_impossible_number_is_named(words, message, tmp_path):
    done = run(SCRIPTS / "train_psmnist.py", "--recipe", "digits", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"train_psmnist.py: error: {message}"


def test_an_empty_file_is_named(tmp_path):
    folder = tmp_path / "data" / "ylecun" / "mnist"
    folder.mkdir(parents=True)
    (folder / "train.parquet").touch()
    done = run(SCRIPTS / "train_psmnist.py", "--data_dir", "data", cwd=tmp_path)
    assert done.returncode == 1
    assert "ylecun/mnist cannot be read: " in done.stderr.splitlines()[-1]


def test_a_text_file_becomes_a_model_that_generates(tmp_path):
    (tmp_path / "notes.txt").write_text("so it goes on and on, and on it goes.\n" * 60)
    words = ["--train_file", "notes.txt", "--max_train_steps", 2, "--eval_steps", 1, "--quiet", "--output_dir", "out"]
    done = run(SCRIPTS / "train_char_lm.py", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "%|" not in done.stderr  # no progress bar
    record = RunRecord.read(tmp_path / "out")
    assert f"test bits per character {record.metrics['test']['bits_per_character']:#.4g}" in done.stdout
    assert (tmp_path / "out" / "figures" / "learning_curve.png").stat().st_size > 10_000
    words = ["out/model", "--prompt", "so it", "--max_new_tokens", 20]
    first, second = (run(SCRIPTS / "generate.py", *words, "--seed", seed, cwd=tmp_path) for seed in (1, 2))
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("so it")
    assert first.stdout != second.stdout
    assert re.search(r"20 tokens, [\d.,]+ a second", first.stderr)
    empty = run(SCRIPTS / "generate.py", "out/model", "--prompt", "", cwd=tmp_path)
    assert empty.stderr == "generate.py: error: --prompt holds no token: give at least one character of text\n"


def test_a_classifier_generates_nothing(tmp_path):
    LMUForSequenceClassification(LMUConfig(vocab_size=8)).save_pretrained(tmp_path / "model")
    train_tokenizer("char", ["so it goes"]).save_pretrained(tmp_path / "model")
    done = run(SCRIPTS / "generate.py", "model", cwd=tmp_path)
    said = "model is an LMUForSequenceClassification, not an LMUForCausalLM: lmu-hf label labels rows with it"
    assert done.stderr == f"generate.py: error: {said}\n"


def test_a_text_is_continued_from_a_saved_memory(tmp_path):
    (tmp_path / "notes.txt").write_text("so it goes on and on, and on it goes.\n" * 60)
    words = ["--train_file", "notes.txt", "--max_train_steps", 30, "--quiet", "--output_dir", "out", "--skip_test"]
    assert run(SCRIPTS / "train_char_lm.py", *words, cwd=tmp_path).returncode == 0
    greedy = ["out/model", "--temperature", 0, "--max_new_tokens"]
    first = run(SCRIPTS / "generate.py", *greedy, 12, "--prompt", "so", "--save_memory", "m.safetensors", cwd=tmp_path)
    second = run(SCRIPTS / "generate.py", *greedy, 9, "--prompt", " on", "--load_memory", "m.safetensors", cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    so_far = first.stdout.removesuffix("\n")
    whole = run(SCRIPTS / "generate.py", *greedy, 9, "--prompt", f"{so_far} on", cwd=tmp_path)
    assert so_far + second.stdout == whole.stdout


@pytest.mark.parametrize(
    "words, message",
    [
        (["--train_file", "nowhere.txt"], "error: --train_file nowhere.txt: there is no such file"),
        (["--train_file", "empty.txt"], "error: the train split of empty.txt holds no text"),
        (["--validation_file", "empty.txt"], "--validation_file and --test_file need a --train_file"),
        (["--train_file", "empty.txt", "--dataset_name", "x"], "one of --train_file and --dataset_name"),
        (["--recipe", "psmnist"], "argument --recipe: 'psmnist' is a recipe for other data; this data has "),
    ],
)
def test_text_that_cannot_be_trained_on_is_named(words, message, tmp_path):
    (tmp_path / "empty.txt").touch()
    done = run(SCRIPTS / "train_char_lm.py", *words, cwd=tmp_path)
    assert done.returncode != 0
    assert message in done.stderr.splitlines()[-1]
    assert not (tmp_path / "runs").exists()


def test_a_pre_trained_body_is_taken_over_by_a_classifier(tmp_path):
    rows = [{"body": "so it goes on and on, and on it goes", "stars": 1}] * 60
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    words = ["--train_file", "rows.jsonl", "--text_column", "body", "--tokenizer", "word", "--vocab_size", 20]
    words += ["--block_size", 8, "--per_device_train_batch_size", 2, "--report_to", "none"]
    words += ["--max_train_steps", 2, "--eval_steps", 1, "--quiet", "--output_dir", "out"]
    done = run(SCRIPTS / "pretrain_lm.py", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = RunRecord.read(tmp_path / "out")
    assert f"validation perplexity {record.metrics['validation']['perplexity']:#.4g}" in done.stdout
    assert set(record.metrics) == {"validation"}
    transfer = transfer_body(str(tmp_path / "out" / "model"), deep_representations=True, num_labels=2)
    assert {name.split(".")[0] for name in transfer.new} == {"classifier", "model"}
    assert set(transfer.unused) <= {"lm_head.weight"}


def test_word_vectors_are_trained_from_a_file_and_read_back(tmp_path):
    (tmp_path / "notes.txt").write_text("So it goes on and on, and on it goes.\n" * 30)
    words = ["--train_file", "notes.txt", "--size", 4, "--min_count", 2, "--num_train_epochs", 1]
    done = run(SCRIPTS / "train_word_vectors.py", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "word_vectors.json").read_text())["words"] == {"read": 30 * 12, "words": 7}
    words_read = {word for word, _ in read_word_vectors(tmp_path / "word_vectors.txt")}
    assert words_read == {"so", "it", "goes", "on", "and", ",", "."}
    done = run(SCRIPTS / "train_word_vectors.py", "--train_file", "nowhere.txt", cwd=tmp_path)
    assert done.stderr.splitlines()[-1].endswith("error: --train_file nowhere.txt: there is no such file")


def test_word_vectors_are_trained_from_several_data_sets(tmp_path):
    (tmp_path / "org/pairs").mkdir(parents=True)
    (tmp_path / "org/pairs/train.csv").write_text(
        "one,other\n" + "a red cat,the cat is red\nhere it is,it is here\n" * 5
    )
    (tmp_path / "org/notes").mkdir()
    (tmp_path / "org/notes/train.csv").write_text("text\n" + "so it goes\n" * 5)
    words = ["--dataset_name", "org/pairs", "org/notes", "--data_dir", ".", "--text_column", "one+other", "text"]
    words += ["--algorithm", "lsa", "word2vec", "--size", 2, "--min_count", 5, "--sif", 0.01]
    words += ["--output_file", "made/vectors.txt"]
    done = run_python(SCRIPTS / "train_word_vectors.py", *words, cwd=tmp_path, HF_HOME=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "made/vectors.json").read_text())["words"] == {"read": 5 * 16, "words": 9}
    words_read = [word for word, _ in read_word_vectors(tmp_path / "made/vectors.txt")]
    assert set(words_read[:2]) == {"is", "it"}
    assert set(words_read[2:]) == {"a", "red", "cat", "the", "here", "so", "goes"}
    done = run_python(
        SCRIPTS / "train_word_vectors.py", *words, "--train_split", "train", "train", "test", cwd=tmp_path
    )
    assert done.stderr.splitlines()[-1].endswith("as many as there are data sets, 2; got 3")


def test_a_missing_model_is_named(tmp_path):
    done = run(SCRIPTS / "generate.py", "nowhere", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("generate.py: error: no model can be loaded from 'nowhere'")


def test_dates_are_translated_from_another_directory(tmp_path):
    words = ["--max_train_steps", 2, "--eval_steps", 2, "--quiet", "--skip_test", "--target_lang", "vi", "--rows", 120]
    done = run(SCRIPTS / "train_translation.py", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = RunRecord.read(tmp_path / "runs" / "dates-en-vi-seed0")
    assert record.data["languages"] == ["en", "vi"]
    assert set(record.metrics) == {"validation"}
    assert "validation bleu" in done.stdout
    assert "|tok:13a|" in record.scorer


def test_a_missing_language_is_named(tmp_path):
    done = run(SCRIPTS / "train_translation.py", "--target_lang", "xx", cwd=tmp_path)
    assert done.returncode == 1
    assert "locales that Babel knows" in done.stderr.splitlines()[-1]


def test_sentences_are_classified_from_another_directory_and_scored_again(tmp_path):
    words = ["--max_train_steps", 2, "--eval_steps", 1, "--rows", 120]
    done = run(SCRIPTS / "train_glue.py", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    bars = [line for line in re.split(r"[\r\n]+", done.stderr) if line]
    assert bars and all(line.startswith("opinions: ") for line in bars)  # one bar, named after the data
    job, majority, classical, result, *_ = done.stdout.splitlines()
    assert job.startswith("label: 2 classes, ") and "; 80 training rows, " in job
    assert majority.startswith("majority: ") and classical.startswith("tf-idf and ")
    assert result.startswith("runs/opinions-seed0: ")
    record = RunRecord.read(tmp_path / "runs" / "opinions-seed0")
    words = ["runs/opinions-seed0/model", "--rows", 120, "--output", "scores.json"]
    done = run(SCRIPTS / "evaluate.py", *words, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["scores"] == record.metrics["test"]
    assert result["data"]["fingerprint"] == record.data["fingerprint"]
    assert json.loads((tmp_path / "scores.json").read_text()) == result
    done = run(SCRIPTS / "evaluate.py", *words, cwd=tmp_path)
    assert f"test of opinions by rule: accuracy {result['scores']['accuracy']:#.4g}" in done.stdout
    assert "{" not in done.stdout
    assert done.stdout.splitlines()[-1].startswith("scores.json: ")


def test_texts_that_a_model_labelled_are_learned_from(tmp_path):
    words = ["--max_train_steps", 1, "--eval_steps", 1, "--rows", 60, "--quiet", "--skip_test"]
    assert run(SCRIPTS / "train_glue.py", *words, cwd=tmp_path).returncode == 0
    (tmp_path / "texts.csv").write_text("line\n" + "it was good\nso it was\n" * 10)
    label = [SCRIPTS / "label.py", "runs/opinions-seed0/model", "--train_file", "texts.csv"]
    done = run(*label, cwd=tmp_path)
    assert done.returncode == 1
    assert "label.py: error: texts.csv has no column 'text' in train: --text_column must" in done.stderr
    assert not (tmp_path / "labels.parquet").exists()
    done = run(*label, "--text_column", "line", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("labels.parquet: 20 texts; negative: ") and done.stdout.count("\n") == 1
    assert sum(json.loads((tmp_path / "labels.json").read_text())["labels"].values()) == 20
    words += ["--extra_train_file", "labels.parquet", "--output_dir", "more"]
    done = run(SCRIPTS / "train_glue.py", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = RunRecord.read(tmp_path / "more")
    assert record.data["rows"]["train"] == RunRecord.read(tmp_path / "runs/opinions-seed0").data["rows"]["train"] + 20
    assert record.data["splits"]["train"] == "made up, and labels.parquet"


def test_a_model_of_a_recipe_that_fine_tunes_another_is_scored(tmp_path):
    words = ["--max_train_steps", 1, "--eval_steps", 1, "--rows", 60, "--quiet", "--skip_test"]
    assert run(SCRIPTS / "train_glue.py", *words, cwd=tmp_path).returncode == 0
    labels = AutoConfig.from_pretrained(tmp_path / "runs/opinions-seed0/model").id2label.values()
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"it was good,{label}\n" for label in labels) * 10)
    words = ["--recipe", "imdb-fine-tuned", "--train_file", "rows.csv", "--test_file", "rows.csv"]
    done = run(SCRIPTS / "evaluate.py", "runs/opinions-seed0/model", *words, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["scores"]["accuracy"] == 0.5


@pytest.mark.parametrize(
    "words, message",
    [
        (["--train_file", "nowhere.csv"], "error: --train_file nowhere.csv: there is no such file"),
        (["--train_file", "a.csv", "--task_name", "rte"], "error: give only one of --train_file and --task_name"),
        (["--text_column", "line"], "error: --text_column has no effect on opinions, which reads made-up sentences"),
        (["--validation_block", 5], "error: --validation_block has no effect on opinions, which reads made-up"),
        (["--config_overrides", "order=eight"], "error: --config_overrides order=eight: Field 'order' expected int"),
        (["--recipe", "imdb-linear"], "error: frozen word vectors must come from somewhere: give --word_vectors FILE"),
        (
            ["--recipe", "imdb-fine-tuned"],
            "error: imdb-fine-tuned needs a trained model: give --model_name_or_path",
        ),
        (["--task_name", "rte", "--data_dir", "."], "error: no folder"),
    ],
)
def test_sentences_that_cannot_be_trained_on_are_named(words, message, tmp_path):
    done = run(SCRIPTS / "train_glue.py", *words, cwd=tmp_path)
    assert done.returncode != 0
    assert message in done.stderr.splitlines()[-1]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "words, message",
    [
        (["nowhere"], "error: nowhere does not lie in a run folder that would say what it is for: give --recipe"),
        (["nowhere", "--recipe", "digits", "--label_column", "x"], "error: --label_column has no effect on digits"),
    ],
)
def test_a_model_that_cannot_be_scored_is_named(words, message, tmp_path):
    done = run(SCRIPTS / "evaluate.py", *words, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path):
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", 2, "--num_machines", 1]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    words = ["--recipe", "digits", "--num_train_epochs", 2, "--quiet", "--output_dir", tmp_path / "run"]
    done = run_python(*launch, SCRIPTS / "train_psmnist.py", *words, cwd=tmp_path, ACCELERATE_USE_CPU="true")
    assert done.returncode == 0, done.stderr
    record = RunRecord.read(tmp_path / "run")
    assert record.processes == 2
    assert record.steps == 2 * 10
    assert 0 < record.metrics["test"]["accuracy"] <= 1
    assert done.stdout.count(" parameters (") == 1


def test_the_benchmark_prints_a_table_and_a_line_of_json(tmp_path):
    sizes = ["--batch_size", 2, "--length", 40, "--order", 6, "--hidden_size", 3, "--repeats", 1]
    done = run(BENCHMARKS / "benchmark_memory.py", *sizes, "--random_shapes", 1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["shapes"] == {"own": {"b": 2, "n": 40, "d": 6, "d_u": 1, "d_o": 3, "theta": 40}}
    forms = {(row["form"], row["outputs"]) for row in result["rows"]}
    assert {("recurrent", "all"), ("fft", "all"), ("chunked", "all"), ("final", "last")} <= forms
    assert all(row["milliseconds"] > 0 and row["peak_bytes"] > 0 for row in result["rows"])
    assert all(pick["times_best"] >= 1 for pick in result["picks"])
    table = speed_table(result).splitlines()
    assert len(table) == 2 + len(result["rows"])
    assert all(line.startswith("| own: b = 2, n = 40, d = 6, d_u = 1, d_o = 3, theta = 40 |") for line in table[2:])
    summary = speed_summary(result).splitlines()
    assert len(summary) == 3  # one shape
    times = {row["form"].split(",")[0]: f"{row['milliseconds']:.4g}" for row in result["rows"]}
    cells = summary[2].split(" | ")
    assert cells[1] == next(time for form, time in times.items() if form.endswith(" readout"))
    assert cells[6] == times["final"]


def test_the_training_benchmark_prints_a_table_and_a_line_of_json(tmp_path):
    words = ["--sizes", 8e5, "--lengths", 16, 64, "--tokens", 64, "--repeats", 1, "--max_seconds", 1e-3]
    done = run(BENCHMARKS / "benchmark_training.py", *words, "--precisions", "float32", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    by_length = {n: [row for row in result["rows"] if row["length"] == n] for n in (16, 64)}
    assert {row["model"] for row in by_length[16]} == {"LMU", "LSTM", "GPT-2", "Mamba"}
    assert {row["skipped"].split(":")[0] for row in by_length[64] if "skipped" in row} == {"Mamba"}
    assert all(abs(row["parameters"] / 8e5 - 1) <= 0.1 for row in by_length[16])
    speeds = {row["model"]: row["characters_per_second"] for row in by_length[16]}
    assert all(row["lmu_ratio"] == speeds["LMU"] / speeds[row["model"]] for row in by_length[16])
    table = training_table(result).splitlines()
    assert len(table) == 2 + len(result["rows"])
    assert {line.count("|") for line in table} == {table[0].count("|")}
    summary = [line.split(" | ") for line in training_summary(result).splitlines()]
    assert summary[0] == ["| size", "length", "products", "LMU, characters a second", "LSTM", "GPT-2", "Mamba |"]
    assert summary[2][4] == f"{speeds['LMU'] / speeds['LSTM']:.3g} x"
    assert summary[3][-1] == " |"  # Mamba, which was left out


def test_a_shape_too_large_for_a_form_says_so_in_the_table():
    row = {"shape": "long", "form": "fft", "outputs": "all", "device": "cpu", "skipped": "m alone is larger than 1 GiB"}
    table = speed_table({"shapes": {"long": {"n": 2**20}}, "rows": [row]}).splitlines()
    assert "not measured: m alone is larger than 1 GiB" in table[2]
    assert {line.count("|") for line in table} == {table[0].count("|")}


@pytest.mark.slow
def test_the_demo_does_the_main_job(tmp_path):
    done = run(SCRIPTS / "demo.py", "--num_train_epochs", 3, "--quiet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for line in ("majority class", "logistic regression", "LMUForImageClassification from", "faster"):
        assert line in done.stdout
    for picture in ("learning_curve.png", "memory_window.png"):
        assert (tmp_path / "runs" / "demo" / "figures" / picture).stat().st_size > 10_000
