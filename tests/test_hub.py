"""The Hub, with the real clients over HTTP against a Hub on loopback: push, load both ways, and every kind of fault."""

import json
import logging
import os
import pty
import re
import subprocess
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import httpx2
import pytest
import torch
from huggingface_hub import CommitOperationAdd, HfApi, ModelCard, constants, snapshot_download
from huggingface_hub.utils import close_session
from transformers import AutoTokenizer

import lmu_hf
from lmu_hf.common.record import RunRecord
from lmu_hf.hub.folder import HEADS, build, files_of
from lmu_hf.hub.push import PushError, push
from lmu_hf.hub.results import show
from lmu_hf_cli import run as run_verb
from loopback import Fault, LoopbackHub
from tiny_runs import KINDS, make_run

PROJECT = Path(__file__).parent.parent
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def hub():
    with LoopbackHub() as running:
        yield running


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {kind: make_run(folder / f"{kind}-seed0", kind) for kind in KINDS}


@pytest.fixture(autouse=True)
def this_process(hub, monkeypatch, tmp_path):
    """Clients made in this process may speak to loopback, use LFS, and do not wait before they try again."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    close_session()
    yield
    hub.fail()
    close_session()


@pytest.fixture
def api(hub) -> HfApi:
    return HfApi(endpoint=hub.url, token=hub.token)


def digests(folder: Path) -> dict[str, str]:
    return {name: sha256(path.read_bytes()).hexdigest() for name, path in files_of(folder).items()}


def held(hub: LoopbackHub, repo_id: str, ref: str = "main") -> dict[str, str]:
    files = hub.repository(repo_id)["refs"][ref]["files"]
    return {name: digest for name, digest in files.items() if name != ".gitattributes"}


# --------------------------------------------------------------------------- the folder that is pushed


@pytest.mark.parametrize("kind", KINDS)
def test_a_built_folder_is_complete(runs, kind):
    folder = build(runs[kind])
    config, head = json.loads((folder / "config.json").read_text()), KINDS[kind][0]
    auto_map = config["auto_map"]
    body = "modeling_lmu_seq2seq.LMUEncoderDecoderModel" if kind == "translation" else "modeling_lmu.LMUModel"
    assert auto_map["AutoConfig"] == "configuration_lmu.LMUConfig"
    assert auto_map["AutoModel"] == body
    assert auto_map[head.loaded_by].endswith(f".{head.__name__}")
    # `transformers serve` asks for a language model by another Auto class.
    assert len(auto_map) == (4 if kind == "text-generation" else 3)
    assert ("lmu-translation" in config.get("custom_pipelines", {})) == (kind == "translation")
    there = files_of(folder)
    for path in folder.glob("*.py"):
        for name in re.findall(r"^\s*from \.(\w+) import", path.read_text(), re.MULTILINE):
            assert f"{name}.py" in there, f"{path.name} imports {name}"
    assert {WEIGHTS, "README.md", "run.json", "metrics.jsonl", "figures/learning_curve.png"} <= set(there)
    assert all(auto.partition(".")[0] + ".py" in there for auto in auto_map.values())
    assert not list(runs[kind].glob("hub.partial"))


def test_a_built_folder_is_reproducible(runs):
    once = digests(build(runs["text-generation"]))
    assert digests(build(runs["text-generation"])) == once


def test_every_class_with_a_head_of_its_own_can_be_pushed():
    heads = {name for name in lmu_hf.__all__ if name.startswith(("LMUFor", "LSTMFor"))}
    assert heads == set(HEADS)


def test_files_that_are_never_pushed_are_named(tmp_path):
    run = make_run(tmp_path / "run", "text-generation")
    (run / "model" / "pytorch_model.bin").write_bytes(b"\x80")
    with pytest.raises(ValueError, match=r"holds pytorch_model\.bin"):
        build(run)
    (run / "model" / "pytorch_model.bin").unlink()
    record = RunRecord.read(run)
    record.command += " --hub_token hf_" + "a" * 34
    record.write(run)
    with pytest.raises(ValueError, match=r"(run\.json|README\.md) holds what looks like an access token") as caught:
        build(run)
    assert "a" * 34 not in str(caught.value)
    assert not (run / "hub").exists()
    with pytest.raises(FileNotFoundError, match="the run has not finished"):
        build(tmp_path)


def test_a_push_is_a_dry_run_unless_the_flag_is_given(runs, hub, monkeypatch, capsys):
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    run, before = str(runs["text-generation"]), len(hub.requests())
    run_verb("push", argv=[run])
    listed = capsys.readouterr().out
    assert len(hub.requests()) == before
    for name, path in files_of(runs["text-generation"] / "hub").items():
        assert re.search(rf"^ *{path.stat().st_size:,}  {re.escape(name)}$", listed, re.MULTILINE), name
    run_verb("push", argv=[run, "--push", "--repo_id", "org/by-script"])
    told = capsys.readouterr()
    oid = hub.repository("org/by-script")["refs"]["main"]["oid"]
    assert told.out.strip() == f"{hub.url}/org/by-script/commit/{oid}"
    assert hub.token not in told.out + told.err
    for words in ([run, "--push"], [run, "--private"], [], [run, "--cards", "a", "b"]):
        with pytest.raises(SystemExit, match="2"):
            run_verb("push", argv=words)
    with pytest.raises(SystemExit, match=r"error: .* the run has not finished"):
        run_verb("push", argv=[str(PROJECT / "tests")])


def test_a_row_of_the_data_is_named_and_can_be_left_out(hub, api, tmp_path, capsys):
    run = make_run(tmp_path / "own-seed0", "text-classification")
    written = json.loads((run / "run.json").read_text())
    written["data"]["example"] = "my neighbour's own words"
    (run / "run.json").write_text(json.dumps(written))

    def holding() -> list[str]:
        return [
            name
            for name, path in files_of(run / "hub").items()
            if path.suffix in (".md", ".json") and "neighbour" in path.read_text()
        ]

    run_verb("push", argv=[str(run / "model")])  # the model of a run stands for the run
    assert holding() == ["README.md", "run.json"]
    told = [line for line in capsys.readouterr().out.splitlines() if "--no_example" in line]
    assert len(told) == 1 and "my neighbour's own words" in told[0]
    run_verb("push", argv=[str(run), "--no_example"])
    assert holding() == [] and "neighbour" not in capsys.readouterr().out
    push(run, "org/shown", api=api)
    push(run, "org/shown", api=api, example=False)
    assert holding() == [] and not (run / "hub" / "history.json").exists()  # it is the same run


# --------------------------------------------------------------------------- pushing


def test_a_push_is_one_commit_of_all_that_the_folder_holds(runs, hub, api, tmp_path):
    commit = push(runs["image-classification"], "org/one", api=api)
    folder = runs["image-classification"] / "hub"
    assert held(hub, "org/one") == digests(folder)
    assert hub.repository("org/one")["commits"] == 2  # the one that made the repository, and this
    assert api.list_repo_commits("org/one")[0].commit_id == commit.oid
    assert set(api.list_repo_files("org/one")) == {*files_of(folder), ".gitattributes"}
    down = snapshot_download("org/one", endpoint=hub.url, cache_dir=tmp_path)
    assert {**digests(folder)}.items() <= digests(Path(down)).items()


def test_the_same_run_again_makes_no_second_commit(runs, hub, api):
    first = push(runs["text-generation"], "org/again", api=api)
    assert push(runs["text-generation"], "org/again", api=api).oid == first.oid
    assert hub.repository("org/again")["commits"] == 2


def test_a_second_model_in_a_repository_keeps_the_history_and_nothing_stale(runs, hub, api, tmp_path):
    push(runs["translation"], "org/tuned", api=api)
    api.upload_file(repo_id="org/tuned", path_or_fileobj=b"mine", path_in_repo="notes.txt")
    second = make_run(tmp_path / "tuned-seed1", "text-classification", seed=1, score=0.91, recipe="tuned")
    push(second, "org/tuned", api=api)
    files = held(hub, "org/tuned")
    assert {"history.json", "notes.txt"} <= set(files)
    assert not {"pipeline_lmu.py", "modeling_lmu_seq2seq.py", "generation_config.json"} & set(files)
    card = (second / "hub" / "README.md").read_text()
    new, old = card.split("### Earlier results")
    old = old.split("## Training")[0]
    assert show("accuracy", 0.91) in new and show("accuracy", 0.91 + 1 / 64) in new
    assert "`tiny-translation`" in old and show("bleu", 0.8125) in old and "`tuned`" not in old
    third = make_run(tmp_path / "tuned-seed2", "text-classification", seed=2, score=0.95, recipe="tuned")
    push(third, "org/tuned", api=api)
    assert push(third, "org/tuned", api=api).oid == hub.repository("org/tuned")["refs"]["main"]["oid"]
    history = json.loads((third / "hub" / "history.json").read_text())
    assert [(row["recipe"], row["seed"]) for row in history] == [("tiny-translation", 0), ("tuned", 1)]
    ModelCard((third / "hub" / "README.md").read_text()).data.to_dict()


def test_a_history_that_cannot_be_read_is_not_written_over(runs, hub, api):
    push(runs["text-generation"], "org/strange", api=api)
    api.upload_file(repo_id="org/strange", path_or_fileobj=b"[{}]", path_in_repo="history.json")
    before = held(hub, "org/strange")
    with pytest.raises(PushError, match=r"history\.json of org/strange is no run record"):
        push(runs["text-generation"], "org/strange", api=api)
    assert held(hub, "org/strange") == before


def test_a_push_may_go_to_a_branch_or_a_pull_request(runs, hub, api):
    push(runs["text-generation"], "org/branches", api=api)
    main = held(hub, "org/branches")
    push(runs["text-classification"], "org/branches", revision="tuned", api=api)
    assert held(hub, "org/branches") == main
    assert held(hub, "org/branches", "tuned") == digests(runs["text-classification"] / "hub")
    made = push(runs["image-classification"], "org/branches", create_pr=True, api=api)
    assert held(hub, "org/branches") == main
    assert made.pr_url.endswith("/discussions/1")
    refs = api.list_repo_refs("org/branches", include_pull_requests=True)
    assert [ref.name for ref in refs.branches] == ["main", "tuned"]
    assert held(hub, "org/branches", refs.pull_requests[0].ref) == digests(runs["image-classification"] / "hub")


def test_a_private_repository_needs_the_token(runs, hub, api, tmp_path):
    push(runs["text-generation"], "org/private", private=True, api=api)
    with pytest.raises(OSError, match="Repository Not Found"):
        HfApi(endpoint=hub.url, token=False).model_info("org/private")
    assert api.model_info("org/private").private
    stranger = "hf_" + "s" * 34
    with pytest.raises(PushError, match=r"does the token .* allow to write") as caught:
        push(runs["text-generation"], "org/private", api=HfApi(endpoint=hub.url, token=stranger))
    assert stranger not in str(caught.value)


# --------------------------------------------------------------------------- faults on the way up

PASSING = {
    "reset while the weights go up": Fault("reset", path="/_lfs/", method="PUT", after=1000),
    "reset at the first byte of the commit": Fault("reset", path="/commit/", after=0),
    "reset inside the commit": Fault("reset", path="/commit/", after=5000),
    "the commit's reply is lost": Fault("lost", path="/commit/"),
    "the upload's reply is lost": Fault("lost", path="/_lfs/"),
    "429 at the first question": Fault("status", path="/preupload/", status=429, headers={"Retry-After": "0"}),
    "429 at the commit": Fault("status", path="/commit/", status=429),
    "500 at the upload": Fault("status", path="/_lfs/", status=500),
    "500 at the commit": Fault("status", path="/commit/", status=500),
    "409 at the commit": Fault("status", path="/commit/", status=409),
    "503 at the creation": Fault("status", path="/repos/create", status=503),
    "slow": Fault("slow", path="/org/", seconds=0.2, times=5),
    "reset while the history is read": Fault("reset", path="/resolve/.*run.json", method="GET", after=100),
    "truncated while the history is read": Fault("truncate", path="/resolve/.*run.json", method="GET", after=100),
}


def repository_with_a_model(runs, hub, api, name: str) -> tuple[str, dict[str, str]]:
    repo_id = "org/" + re.sub(r"\W+", "-", name)
    push(runs["text-generation"], repo_id, api=api)
    return repo_id, held(hub, repo_id)


@pytest.mark.parametrize("fault", PASSING)
def test_a_transient_fault_is_retried(runs, hub, api, fault):
    repo_id, _ = repository_with_a_model(runs, hub, api, fault)
    hub.fail(PASSING[fault])
    commit = push(runs["text-classification"], repo_id, api=api, waits=(0, 0))
    assert hub.unmet() == 0
    assert held(hub, repo_id) == digests(runs["text-classification"] / "hub")
    assert hub.repository(repo_id)["commits"] == 3
    assert hub.repository(repo_id)["refs"]["main"]["oid"] == commit.oid
    assert "tiny-text-generation" in (runs["text-classification"] / "hub" / "README.md").read_text()


LASTING = {
    "resets while the weights go up": (Fault("reset", "/_lfs/", after=1000), "the connection failed"),
    "resets inside the commit": (Fault("reset", "/commit/", after=5000), "the connection failed"),
    "429": (Fault("status", "/commit/", status=429), "the Hub answered 429"),
    "500": (Fault("status", "/preupload/", status=500), "the Hub answered 500"),
    "409": (Fault("status", "/commit/", status=409), "the Hub answered 409"),
    "412": (Fault("status", "/commit/", status=412), "Somebody else pushed meanwhile"),
    "403": (Fault("status", "/commit/", status=403), "does the token"),
    "truncated history": (
        Fault("short", "/resolve/.*run.json", method="GET", after=9),
        "run.json did not arrive whole",
    ),
}


@pytest.mark.parametrize("name", LASTING)
def test_a_permanent_fault_is_one_clear_message_and_changes_nothing(runs, hub, api, name, caplog):
    caplog.set_level(logging.DEBUG)
    repo_id, before = repository_with_a_model(runs, hub, api, name)
    fault, words = LASTING[name]
    fault.times, fault.echo = 999, True
    hub.fail(fault)
    with pytest.raises(PushError, match=words) as caught:
        push(runs["text-classification"], repo_id, api=api, waits=(0, 0))
    assert str(caught.value).startswith(f"{repo_id} was not changed: ")
    assert "\n" not in str(caught.value)
    assert hub.token not in "".join(traceback.format_exception(caught.value)) + caplog.text
    assert held(hub, repo_id) == before
    hub.fail()
    push(runs["text-classification"], repo_id, api=api)
    assert held(hub, repo_id) == digests(runs["text-classification"] / "hub")
    assert hub.repository(repo_id)["commits"] == 3


def test_a_push_never_overwrites_somebody_elses_commit(runs, hub, api, monkeypatch):
    repo_id, _ = repository_with_a_model(runs, hub, api, "race")
    commit, others = HfApi.create_commit, []

    def overtaken(self, *args, **kwargs):
        if not others:
            others.append(commit(api, repo_id, [CommitOperationAdd("theirs.txt", b"theirs")], commit_message="theirs"))
        return commit(self, *args, **kwargs)

    monkeypatch.setattr(HfApi, "create_commit", overtaken)
    with pytest.raises(PushError, match="Somebody else pushed meanwhile"):
        push(runs["text-classification"], repo_id, api=api)
    assert hub.repository(repo_id)["refs"]["main"]["oid"] == others[0].oid
    push(runs["text-classification"], repo_id, api=api)
    assert "theirs.txt" in held(hub, repo_id)


def test_a_push_that_arrived_changed_is_noticed(runs, hub, api, monkeypatch):
    commit = HfApi.create_commit

    def garbled(self, repo_id, operations, **how):
        changed = [
            CommitOperationAdd("README.md", b"---\nlicense: mit\n---\n") if op.path_in_repo == "README.md" else op
            for op in operations
        ]
        return commit(self, repo_id, changed, **how)

    monkeypatch.setattr(HfApi, "create_commit", garbled)
    with pytest.raises(PushError, match=r"not as it was sent: README\.md differ"):
        push(runs["text-generation"], "org/garbled", api=api)


def test_an_unreachable_hub_is_one_clear_message(runs):
    with pytest.raises(PushError, match="org/nowhere was not changed: the connection failed"):
        push(runs["text-generation"], "org/nowhere", api=HfApi(endpoint="http://127.0.0.1:9", token="x"), waits=())


# --------------------------------------------------------------------------- faults on the way down

DOWN = {
    "reset": (Fault("reset", f"resolve/.*/{WEIGHTS}", "GET", after=3000), "reset by peer"),
    "truncated": (Fault("truncate", f"resolve/.*/{WEIGHTS}", "GET", after=3000), None),
    "short": (Fault("short", f"resolve/.*/{WEIGHTS}", "GET", after=3000), "Consistency check failed"),
    "429": (Fault("status", f"resolve/.*/{WEIGHTS}", "GET", status=429), None),
    "500": (Fault("status", f"resolve/.*/{WEIGHTS}", "GET", status=500), "500"),
    "slow": (Fault("slow", f"resolve/.*/{WEIGHTS}", "GET", seconds=1.5), None),
    "a wrong etag": (Fault("etag", f"resolve/.*/{WEIGHTS}", "HEAD"), None),
}


@pytest.mark.parametrize("name", DOWN)
def test_a_download_is_whole_or_an_error(runs, hub, api, name, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    fault, words = DOWN[name]
    push(runs["text-generation"], "org/down", api=api)
    good = digests(runs["text-generation"] / "hub")[WEIGHTS]

    def download() -> str:
        path = api.hf_hub_download("org/down", WEIGHTS, cache_dir=tmp_path)
        return sha256(Path(path).read_bytes()).hexdigest()

    hub.fail(fault)
    if words is None:
        assert download() == good
    else:
        with pytest.raises((OSError, httpx2.HTTPError), match=words):
            download()
        assert hub.unmet() == 0
        assert not list(tmp_path.rglob(f"snapshots/*/{WEIGHTS}"))
    assert download() == good


# --------------------------------------------------------------------------- loading, both ways

LOAD = r"""
import json, re, socket, sys
given = json.loads(sys.argv[1])
connect = socket.socket.connect
def loopback_only(self, address):
    assert self.family not in (socket.AF_INET, socket.AF_INET6) or address[0] == "127.0.0.1", f"call to {address}"
    return connect(self, address)
socket.socket.connect = loopback_only
how, snippets = {}, (0, 2)
if given["bare"]:
    class Nowhere:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == "lmu_hf":
                raise ModuleNotFoundError(name)
    sys.meta_path.insert(0, Nowhere())
    how, snippets = {"trust_remote_code": True}, (1,)
else:
    import lmu_hf
import torch, transformers
from huggingface_hub import hf_hub_download
from PIL import Image
from transformers import AutoConfig, AutoFeatureExtractor, AutoImageProcessor, AutoModel, AutoTokenizer, pipeline

torch.set_num_threads(1)
found, texts, greedy = {}, given["texts"], {"do_sample": False, "max_new_tokens": 6}
for kind, (repo, auto_class) in given["repositories"].items():
    config, body = AutoConfig.from_pretrained(repo, **how), AutoModel.from_pretrained(repo, **how)
    head = getattr(transformers, auto_class).from_pretrained(repo, **how)
    assert type(config).__name__ == "LMUConfig" and type(head.config).__name__ == "LMUConfig"
    module = type(head).__module__
    assert module.startswith("transformers_modules." if given["bare"] else "lmu_hf."), module
    first = next(iter(body.parameters()))
    assert torch.equal(first, next(iter(head.model.parameters())))
    weights = sum(p.double().sum().item() for p in head.parameters())
    row = {"body": type(body).__name__, "head": type(head).__name__, "weights": weights}
    if kind == "time-series-forecasting":
        with torch.no_grad():
            row["answer"] = head(input_values=torch.linspace(0, 1, 20)[None]).predictions.flatten().tolist()
    elif kind == "time-series-classification":
        with torch.no_grad():
            row["answer"] = head(input_values=torch.linspace(0, 1, 20).view(1, 10, 2)).logits.flatten().tolist()
    elif kind == "audio-classification":
        sound = torch.linspace(-1, 1, 300).numpy()
        values = AutoFeatureExtractor.from_pretrained(repo, **how)(sound, return_tensors="pt")
        with torch.no_grad():
            row["answer"] = head(**values).logits.flatten().tolist()
    elif kind == "image-classification":
        picture = hf_hub_download(repo, "figures/example.png")
        pixels = AutoImageProcessor.from_pretrained(repo)(Image.open(picture), return_tensors="pt")
        with torch.no_grad():
            row["answer"] = head(**pixels).logits.flatten().tolist()
        row["pipeline"] = pipeline("image-classification", model=repo, **how)(picture, top_k=None)
        row["inferred"] = pipeline(model=repo, **how)(picture, top_k=None)
    else:
        row["answer"] = AutoTokenizer.from_pretrained(repo, **how)(texts)["input_ids"]
        if kind == "text-generation":
            row["pipeline"] = pipeline("text-generation", model=repo, **how)(texts, **greedy)
        elif kind == "translation":
            row["pipeline"] = pipeline("lmu-translation", model=repo, **how)(texts, num_beams=3, max_new_tokens=6)
        elif kind == "token-classification":
            row["pipeline"] = str(pipeline(kind, model=repo, aggregation_strategy="simple", **how)(texts))
        else:
            pair = {"text": texts[0], "text_pair": texts[1]}
            inputs = pair if kind == "pair-classification" else texts
            row["pipeline"] = pipeline("text-classification", model=repo, **how)(inputs)
    found[kind] = row
    blocks = re.findall(r"```python\n(.*?)```", open(hf_hub_download(repo, "README.md")).read(), re.DOTALL)
    assert len(blocks) == 3
    for number in snippets:
        exec(compile(blocks[number], f"{repo}, snippet {number}", "exec"), {})
if given["private"]:
    found["private"] = type(AutoConfig.from_pretrained(given["private"], **how)).__name__
assert ("lmu_hf" in sys.modules) == (not given["bare"])
open(given["found"], "w").write(json.dumps(found))
"""
TEXTS = ["a charming film", "not bad at all"]


def load_elsewhere(hub: LoopbackHub, home: Path, token: str | None = None, **given) -> dict:
    environment = hub.environment(home, token) | {"OMP_NUM_THREADS": "1"}
    home.mkdir(exist_ok=True)
    command = [sys.executable, "-c", LOAD, json.dumps({"texts": TEXTS, "found": str(home / "found.json"), **given})]
    status, said = in_a_terminal(command, environment)
    assert status == 0, said[-4000:]
    assert "[y/N]" not in said
    return json.loads((home / "found.json").read_text())


def in_a_terminal(command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Run a command as somebody does who watches and does not answer: its exit status, and what it showed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = bytearray()
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the last one who could write has gone
            break
        if not part:
            break
        shown += part
    os.close(ours)
    return process.wait(), shown.decode(errors="replace")


def test_one_repository_loads_with_the_package_and_without(runs, hub, api, tmp_path):
    repositories = {kind: (f"org/load-{kind}", KINDS[kind][0].loaded_by) for kind in KINDS}
    for kind, (repo_id, _) in repositories.items():
        push(runs[kind], repo_id, api=api)
    push(runs["text-generation"], "org/secret", private=True, api=api)
    given = {"repositories": repositories, "private": None}
    with ThreadPoolExecutor(2) as processes:
        package = processes.submit(
            load_elsewhere, hub, tmp_path / "1", hub.token, **given | {"private": "org/secret"}, bare=False
        )
        bare = processes.submit(load_elsewhere, hub, tmp_path / "2", **given, bare=True)
    with_package, without = package.result(), bare.result()
    assert with_package.pop("private") == "LMUConfig"
    for kind, row in with_package.items():
        assert row == pytest.approx(without[kind]) if kind == "never" else row.keys() == without[kind].keys()
        assert {name: row[name] for name in ("body", "head")} == {
            name: without[kind][name] for name in ("body", "head")
        }
        assert json.dumps(row) == json.dumps(without[kind]), kind
        local = KINDS[kind][0].from_pretrained(runs[kind] / "model")
        assert row["weights"] == sum(p.double().sum().item() for p in local.parameters())
        assert row["head"] == KINDS[kind][0].__name__
        if kind == "time-series-forecasting":
            answer = local(input_values=torch.linspace(0, 1, 20)[None]).predictions.flatten()
            assert row["answer"] == pytest.approx(answer.tolist(), rel=1e-5, abs=1e-6)
        elif kind == "time-series-classification":
            answer = local(input_values=torch.linspace(0, 1, 20).view(1, 10, 2)).logits.flatten()
            assert row["answer"] == pytest.approx(answer.tolist(), rel=1e-5, abs=1e-6)
        elif kind not in ("image-classification", "audio-classification"):
            assert row["answer"] == AutoTokenizer.from_pretrained(runs[kind] / "model")(TEXTS)["input_ids"]
    assert with_package["image-classification"]["pipeline"] == with_package["image-classification"]["inferred"]


def test_a_model_loads_at_the_revision_that_is_named(runs, hub, api, tmp_path):
    first = push(runs["text-generation"], "org/revisions", api=api)
    other = make_run(tmp_path / "other-seed1", "text-generation", seed=1)
    push(other, "org/revisions", api=api)
    assert os.environ.get("HF_TOKEN") is None
    for revision, run in ((first.oid, runs["text-generation"]), ("main", other)):
        path = HfApi(endpoint=hub.url).hf_hub_download("org/revisions", WEIGHTS, revision=revision, cache_dir=tmp_path)
        assert sha256(Path(path).read_bytes()).hexdigest() == digests(run / "model")[WEIGHTS]
