"""transformers' own server answers OpenAI's client with a model of the family; each server is a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch
from transformers import AutoTokenizer

from benchmark_space import free_port
from lmu_hf import CHAT_TEMPLATE, LMUConfig, LMUForCausalLM, LMUForSequenceClassification, train_tokenizer
from lmu_hf_cli import run as run_verb

openai = pytest.importorskip("openai", reason="the server needs an extra: pip install 'lmu-hf[serve]'")

TEXT = "user: assistant: what is up? all of it, and more"
CHAT = [{"role": "user", "content": "what is up?"}]
OURS = [sys.executable, "-c", "import lmu_hf_cli; lmu_hf_cli.main()", "serve"]
THEIRS = [sys.executable, "-c", "from transformers.cli.transformers import app; app()", "serve", "--trust-remote-code"]
PATIENCE = 600  # seconds for a process to import all that it needs


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = train_tokenizer("char", [TEXT], padding_side="left")
    torch.manual_seed(3)
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    config = LMUConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, order=4, theta=30.0, **ids)
    LMUForCausalLM(config).save_pretrained(folder, with_code=True)
    tokenizer.save_pretrained(folder)
    return folder


def start(command: list[str], folder: Path, home: Path) -> tuple[subprocess.Popen, str]:
    port = free_port()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(home), "OMP_NUM_THREADS": "1"}
    words = [*command, str(folder), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    url = f"http://127.0.0.1:{port}"
    for _ in range(PATIENCE):
        if process.poll() is not None:
            raise AssertionError(process.communicate()[1][-4000:])
        try:
            httpx.get(f"{url}/health", trust_env=False)
        except httpx.ConnectError:
            time.sleep(1)
        else:
            return process, url
    process.kill()
    raise AssertionError("the server did not come up")


@pytest.fixture(scope="module", params=[OURS, THEIRS], ids=["lmu-hf serve", "transformers serve"])
def server(request, folder, tmp_path_factory) -> Iterator[tuple]:
    if request.param is THEIRS:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.chat_template = CHAT_TEMPLATE
        tokenizer.save_pretrained(folder)
    process, url = start(request.param, folder, tmp_path_factory.mktemp("home"))
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", http_client=httpx.Client(trust_env=False))
    yield client, folder
    process.terminate()
    process.wait()


def continued(folder: Path, prompt: str, tokens: int = 12) -> str:
    model, tokenizer = LMUForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)["input_ids"]
    made = model.generate(ids, max_new_tokens=tokens, do_sample=False)[0, ids.shape[1] :]
    return tokenizer.decode(made, skip_special_tokens=True)


@pytest.mark.ecosystem
def test_a_client_of_openai_is_answered(server):
    client, folder = server
    asked = {"model": str(folder), "temperature": 0, "max_tokens": 12}
    assert [model.id for model in client.models.list()] == [str(folder)]
    expected = continued(folder, "what is")
    answer = client.completions.create(prompt="what is", **asked)
    assert answer.choices[0].text == expected and answer.usage.prompt_tokens == 7
    parts = list(client.completions.create(prompt="what is", stream=True, **asked))
    assert len(parts) > 2 and "".join(part.choices[0].text for part in parts) == expected
    template = AutoTokenizer.from_pretrained(folder).chat_template
    prompt = CHAT[0]["content"] if template is None else f"user: {CHAT[0]['content']}<eos>assistant: "
    expected = continued(folder, prompt)
    answer = client.chat.completions.create(messages=CHAT, **asked)
    assert answer.choices[0].message.content == expected and answer.choices[0].finish_reason in ("length", "stop")
    parts = list(client.chat.completions.create(messages=CHAT, stream=True, **asked))
    assert "".join(part.choices[0].delta.content or "" for part in parts) == expected
    assert parts[-1].choices[0].finish_reason == answer.choices[0].finish_reason


@pytest.mark.ecosystem
def test_a_temperature_is_heard(server, request):
    client, folder = server
    if "transformers serve" in request.node.name:
        pytest.skip("there the model's generation_config.json says whether it samples")
    asked = {"model": str(folder), "prompt": "what is", "max_tokens": 40, "temperature": 1.0}
    answers = {client.completions.create(**asked).choices[0].text for _ in range(3)}
    assert len(answers) > 1


def test_a_model_that_writes_no_text_is_not_served(tmp_path, capsys):
    LMUForSequenceClassification(LMUConfig(vocab_size=8, num_labels=2)).save_pretrained(tmp_path)
    with pytest.raises(SystemExit, match="is an LMUForSequenceClassification, not an LMUForCausalLM"):
        run_verb("serve", argv=[str(tmp_path)])
