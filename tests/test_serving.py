"""transformers' own server answers OpenAI's client with a model of the family; each server is a process of its own."""

import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from transformers import AutoTokenizer

from lmu_hf import CHAT_TEMPLATE, LMUConfig, LMUForSequenceClassification
from lmu_hf_cli import run as run_verb
from served import LMU_HF_SERVE, read_writer, save_writer, served

openai = pytest.importorskip("openai", reason="the server needs an extra: pip install 'lmu-hf[serve]'")

CHAT = [{"role": "user", "content": "what is up?"}]
THEIRS = [sys.executable, "-c", "from transformers.cli.transformers import app; app()", "serve", "--trust-remote-code"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_writer(folder, seed=3)
    return folder


@pytest.fixture(scope="module", params=[LMU_HF_SERVE, THEIRS], ids=["lmu-hf serve", "transformers serve"])
def server(request, folder, tmp_path_factory) -> Iterator[tuple]:
    if request.param is THEIRS:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.chat_template = CHAT_TEMPLATE
        tokenizer.save_pretrained(folder)
    with served([[*request.param, str(folder)]], tmp_path_factory.mktemp("home")) as [(_, url)]:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", http_client=httpx2.Client(trust_env=False))
        yield client, folder


def continued(folder: Path, prompt: str, tokens: int = 12) -> str:
    return read_writer(folder)(prompt, tokens)


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
