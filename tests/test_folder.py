"""What a push may hold: a model's own files and the run's own record, no link, no secret, no place on this machine."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lmu_hf import train_tokenizer
from lmu_hf.common.figures import learning_curve
from lmu_hf.common.lock import LOCK
from lmu_hf.common.record import RunRecord
from lmu_hf.hub.card import Shown, model_name, write_cards
from lmu_hf.hub.folder import MODEL_FILES, build, files_of
from lmu_hf.hub.push import _is_owned
from lmu_hf.hub.records import checked, own_record, own_rows
from lmu_hf.hub.scanning import refuse_secrets
from tiny_runs import make_run

RECORDS = sorted(path.parent for path in (Path(__file__).parents[1] / "records").glob("*/run.json"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    run = make_run(tmp_path_factory.mktemp("made") / "talk-seed0", "text-generation")
    learning_curve(run, run / "figures" / "learning_curve.png")
    return run


@pytest.fixture
def run(tmp_path, finished) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "runs" / finished.name))


def moved_out(path: Path, elsewhere: Path) -> Path:
    """Put a file or folder elsewhere, and a link in its place."""
    elsewhere.mkdir(exist_ok=True)
    shutil.move(path, elsewhere / path.name)
    path.symlink_to(elsewhere / path.name)
    return path


# --------------------------------------------------------------------------- links

LINKED = ["run.json", "metrics.jsonl", "model", "figures", "model/config.json", "model/model.safetensors"]
LINKED += ["model/tokenizer.json", "model/tokenizer_config.json", "model/generation_config.json"]
LINKED += ["figures/learning_curve.png", "figures/more.png"]


@pytest.mark.parametrize("name", LINKED)
def test_a_link_out_of_the_run_is_refused_by_name(run, tmp_path, name):
    shutil.copy(run / "figures" / "learning_curve.png", run / "figures" / "more.png")
    moved_out(run / name, tmp_path / "secrets")
    before = {path: path.read_bytes() for path in (tmp_path / "secrets").rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=rf"{name} is a link that leads out of .*talk-seed0: nothing is pushed"):
        build(run)
    assert {path: path.read_bytes() for path in (tmp_path / "secrets").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["hub", "hub.partial"])
def test_nothing_is_written_through_a_link(run, tmp_path, name):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").touch()
    (run / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=rf"{name} is a link: remove it"):
        build(run)
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["kept"]


def test_a_picture_is_not_drawn_through_a_link(run, tmp_path):
    (run / "figures" / "learning_curve.png").unlink()
    (run / "figures" / "learning_curve.png").symlink_to(tmp_path / "not-yet-there.png")
    with pytest.raises(ValueError, match=r"learning_curve\.png is a link that leads out"):
        build(run)
    assert not (tmp_path / "not-yet-there.png").exists()


def test_links_within_the_run_and_to_the_run_are_followed(run, tmp_path):
    plain = {name: path.read_bytes() for name, path in files_of(build(run)).items()}
    shutil.move(run / "model" / "model.safetensors", run / "best.safetensors")
    (run / "model" / "model.safetensors").symlink_to("../best.safetensors")
    (tmp_path / "latest").symlink_to(run)
    folder = build(tmp_path / "latest")
    assert {name: path.read_bytes() for name, path in files_of(folder).items()} == plain
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    (run / "model" / "config.json").unlink()
    (run / "model" / "config.json").symlink_to("config.json")
    with pytest.raises(ValueError, match=r"config\.json is a link that leads in a circle"):
        build(run)


def test_a_snapshot_in_the_hubs_cache_holds_its_own_blobs_and_no_others(run, tmp_path):
    plain = {name: path.read_bytes() for name, path in files_of(build(run)).items()}
    shutil.rmtree(run / "hub")
    repository = tmp_path / "models--org--runs"
    snapshot = repository / "snapshots" / "0123" / run.name
    shutil.copytree(run, snapshot, ignore=shutil.ignore_patterns(LOCK))  # nobody uploads a lock
    (repository / "blobs").mkdir()
    for number, path in enumerate([path for path in snapshot.rglob("*") if path.is_file()]):
        shutil.move(path, repository / "blobs" / str(number))
        path.symlink_to(os.path.relpath(repository / "blobs" / str(number), path.parent))
    folder = build(snapshot)
    assert {name: path.read_bytes() for name, path in files_of(folder).items()} == plain
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    other = tmp_path / "models--org--other" / "blobs"
    other.mkdir(parents=True)
    shutil.copy(repository / "blobs" / "0", other / "0")
    (snapshot / "model" / "config.json").unlink()
    (snapshot / "model" / "config.json").symlink_to(other / "0")
    with pytest.raises(ValueError, match=r"config\.json is a link that leads out"):
        build(snapshot)


# --------------------------------------------------------------------------- a model's own files

FOREIGN = ["step_1/model.safetensors", "a/config.json", "a/b/tokenizer.json", ".git/config", ".git/config.json", ".env"]
FOREIGN += ["README.md", "Config.json", "MODEL.SAFETENSORS", "run.json", "metrics.jsonl", "modeling_lmu.py", "x.png"]
FOREIGN += [".config.json", "model.safetensors.bak", "adapter.safetensors", "figures/x.png", ".eval_results/x.yaml"]
FOREIGN += ["training_args.bin", "optimizer.pt", "history.json", "model-a.safetensors", "config.json "]


@pytest.mark.parametrize("name", FOREIGN)
def test_only_known_files_of_a_model_are_pushed(run, name):
    path = run / "model" / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"holds .*, which is never pushed: keep only ") as caught:
        build(run)
    assert name.split("/")[0] in str(caught.value)
    assert not (run / "hub").exists()


def test_files_of_a_model_and_other_pushed_files_never_share_a_name(run):
    written = set(files_of(build(run))) - {path.name for path in (run / "model").iterdir()}
    assert not any(Path(name).match(model) for name in written for model in MODEL_FILES)


def test_weights_that_are_damaged_or_not_finite_are_not_pushed(run):
    path = run / "model" / "model.safetensors"
    weights = load_file(path)
    name = sorted(weights)[0]
    weights[name].view(-1)[0] = torch.nan
    save_file(weights, path)
    with pytest.raises(
        ValueError, match=rf"model\.safetensors is not pushed: {name} holds numbers that are not finite"
    ):
        build(run)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"model\.safetensors is not pushed: it is damaged"):
        build(run)


def test_a_push_leaves_other_peoples_folders_alone():
    assert all(map(_is_owned, ("config.json", "old.bin", "layers.py", "figures/x.png", ".eval_results/x.yaml")))
    assert not any(map(_is_owned, ("onnx/config.json", "notes.txt", "figures/mine/x.png", "lora/adapter.safetensors")))


@pytest.mark.parametrize("repo_id", ['a/b"; import os', "a/b/c", "a/<b>", "a/b.git", "a/" + "b" * 100])
def test_a_name_that_no_repository_can_have_is_refused(run, repo_id):
    with pytest.raises(ValueError, match=r"(?i)repo.?id"):
        build(run, repo_id)


def test_a_model_is_named_after_its_folder_as_far_as_a_name_can_be():
    assert model_name(Path("runs/psmnist-perm0-seed3")) == "lmu-psmnist-perm0"
    assert model_name(Path("runs/<img src=x>")) == "lmu-img-src-x"
    assert model_name(Path("runs/my run..2--x-seed1")) == "lmu-my-run-2-x"
    assert model_name(Path("runs/中文")) == "lmu-model"


# --------------------------------------------------------------------------- secrets

# Put together here, so that no scanner takes this file for one that holds them.
SECRETS = {
    "access token of the Hub": "hf_" + "a1B2" * 9,
    "AWS Access Key": "AKIA" + "IOSFODNN7EXAMPL2",
    "GitHub Token": "ghp_" + "a1B2" * 9,
    "Slack Token": "xoxb-" + "123456789012-abcdefABCDEF1234",
    "Private Key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "Basic Auth Credentials": "https://alice:" + "hunter22@example.org",
    "OpenAI Token": "sk-" + "a1B2" * 5 + "T3BlbkFJ" + "a1B2" * 5,
}


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("place", ["record", "log", "config", "template", "weights", "picture"])
def test_a_secret_is_found_wherever_it_stands(run, kind, place):
    secret, model = SECRETS[kind], run / "model"
    if place == "record":
        record = RunRecord.read(run)
        record.hyperparameters["note"] = f"line\n{secret}"
        record.write(run)
    elif place == "log":
        (run / "metrics.jsonl").write_text((run / "metrics.jsonl").read_text() + json.dumps({"note": secret}) + "\n")
    elif place == "config":
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps(config | {"note": {secret: 1}}))
    elif place == "template":
        (model / "chat_template.jinja").write_text(f"{{# {secret} #}}")
    elif place == "weights":
        save_file(load_file(model / "model.safetensors"), model / "model.safetensors", {"format": "pt", "note": secret})
    else:
        from PIL import Image, PngImagePlugin

        note = PngImagePlugin.PngInfo()
        note.add_text("note", secret)
        Image.new("L", (2, 2)).save(run / "figures" / "x.png", pnginfo=note)
    with pytest.raises(ValueError, match=rf"holds what looks like an? {kind}: nothing is pushed") as caught:
        build(run)
    assert secret not in str(caught.value)
    assert not (run / "hub").exists()


def test_a_password_in_a_record_is_found_by_its_name(run):
    record = RunRecord.read(run)
    record.hyperparameters["db_password"] = "correct horse"
    record.write(run)
    with pytest.raises(ValueError, match=r"run\.json holds what looks like a Secret Keyword"):
        build(run)


def test_a_version_is_no_secret_and_hides_none(tmp_path):
    record = tmp_path / "matrix.json"
    record.write_text('{"detect-secrets": "1.5.0", "torch": "2.13.0+cpu"}')
    refuse_secrets({"matrix.json": record})
    record.write_text('{"detect-secrets": "1.5.0", "db_password": "correct horse"}')
    with pytest.raises(ValueError, match=r"matrix\.json holds what looks like a Secret Keyword"):
        refuse_secrets({"matrix.json": record})


def test_ordinary_text_is_not_taken_for_a_secret(tmp_path):
    project = Path(__file__).parents[1]
    sources = sorted((project / "src" / "lmu_hf").glob("*.py"))
    texts = [path.read_text(encoding="utf-8") for path in sources]
    texts += ["the password is a secret", "api_key = token", "sk-learn", "hf_hub_download(token)"]
    made = {}
    for kind, options in (("bpe", {"vocab_size": 4000}), ("word", {}), ("char", {})):
        train_tokenizer(kind, texts, **options).save_pretrained(tmp_path / kind)
        made |= {f"{kind}/{path.name}": path for path in (tmp_path / kind).iterdir()}
        refuse_secrets({path.name: path for path in (tmp_path / kind).iterdir()})
    assert len(made) == 6
    refuse_secrets({str(path): path for path in (project / "records").rglob("*.json*")})
    refuse_secrets({str(path): path for path in (project / "model_cards").glob("*.md")})


# --------------------------------------------------------------------------- places


def test_pushed_files_name_no_local_path(run):
    record = RunRecord.read(run)
    record.command = "python scripts/train.py --train_file '/home/alice/my data/x.csv' --hub_token abc --seed 1"
    record.data |= {"name": "/home/alice/x.csv", "stack": "/home/alice/runs/y/model"}
    record.hyperparameters["data"] = {"train_file": "/Users/alice/x.csv"}
    record.write(run)
    log = run / "metrics.jsonl"
    log.write_text(log.read_text().replace('{"epoch"', '{"file": "/home/alice/z.csv", "epoch"'))
    config = json.loads((run / "model" / "config.json").read_text())
    (run / "model" / "config.json").write_text(json.dumps(config | {"_name_or_path": "/home/alice/runs/y/model"}))
    files = files_of(build(run))
    for name, path in files.items():
        assert b"alice" not in path.read_bytes(), name
    pushed = RunRecord.read(run / "hub")
    assert pushed.command == "python scripts/train.py --train_file x.csv --hub_token ... --seed 1"
    assert (pushed.data["name"], pushed.data["stack"]) == ("x.csv", "model")
    assert checked(pushed, "again") == pushed == own_record(run)


# --------------------------------------------------------------------------- records


@pytest.mark.parametrize("run", RECORDS, ids=lambda run: run.name)
def test_every_record_of_the_project_is_valid_and_names_no_local_path(run):
    assert own_record(run) == RunRecord.read(run)
    assert own_rows(run)


BROKEN = {
    "empty": b"",
    "cut": b'{"recipe": "x", ',
    "a list": b"[1, 2]",
    "a number": b"7",
    "foreign": b'{"accuracy": 0.5}',
    "not UTF-8": b"\xff\xfe{}",
    "deep": b"[" * 200_000,
    "null": b"null",
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_unreadable_neighbour_is_left_out_with_a_warning(run, name, caplog):
    other = make_run(run.parent / "talk-seed1", "text-generation", seed=1)
    (run.parent / "bad-seed0").mkdir()
    (run.parent / "bad-seed0" / "run.json").write_bytes(BROKEN[name])
    assert [record.seed for record in Shown.beside(run).group] == [0, 1]
    assert [line.split(" is left out: ")[0] for line in caplog.messages] == [str(run.parent / "bad-seed0" / "run.json")]
    assert "\n" not in caplog.messages[0]
    assert [path.name for path in write_cards(run.parent, run.parent / "cards")] == ["talk.md"]
    (other / "run.json").write_bytes(BROKEN[name])
    with pytest.raises(ValueError, match=r"talk-seed1/run\.json is not a run record"):
        build(other)


WRONG = [
    {"metrics": "good"},
    {"metrics": {"validation": {"bits_per_character": "low"}}},
    {"metrics": {"validation": {"bits_per_character": float("nan")}}},
    {"metrics": {"validation": {}}},
    {"metrics": {}},
    {"data": {}},
    {"data": {"name": 3, "tokenizer": "char"}},
    {"data": {"name": "x"}},
    {"data": {"name": "x", "tokenizer": "char", "rows": {"train": "many"}}},
    {"seed": "0"},
    {"seed": True},
    {"parameters": {}},
    {"hardware": {}},
    {"versions": [1]},
    {"command": None},
    {"architecture": None},
]


@pytest.mark.parametrize("fields", WRONG, ids=str)
def test_a_record_of_the_wrong_shape_is_named_in_one_line(run, fields, caplog):
    path = run / "run.json"
    good = path.read_text()
    path.write_text(json.dumps(json.loads(good) | fields))
    with pytest.raises(ValueError, match=r"talk-seed0/run\.json") as caught:
        build(run)
    assert "\n" not in str(caught.value)
    other = make_run(run.parent / "talk-seed1", "text-generation", seed=1)
    assert not Shown.beside(other).seeds and len(caplog.messages) == 1


def test_a_neighbour_by_a_link_to_elsewhere_is_left_out(run, tmp_path, caplog):
    make_run(tmp_path / "elsewhere" / "talk-seed1", "text-generation", seed=1)
    (run.parent / "talk-seed1").symlink_to(tmp_path / "elsewhere" / "talk-seed1")
    assert not Shown.beside(run).seeds
    assert "is a link that leads out" in caplog.text
