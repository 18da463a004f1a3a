"""A chat in the terminal: every turn is read once, and answered as if the whole chat had been read."""

import io

import pytest
import torch

from lmu_hf import CHAT_TEMPLATE, TEXT_TEMPLATE, LMUConfig, LMUForCausalLM, train_tokenizer
from lmu_hf.cli.chatting import Talk
from lmu_hf.tokenization_lmu import continue_chats
from lmu_hf_cli import run as run_verb
from tiny_stacks import randomised

TEXT = "user: assistant: system: what is up? all of it, and more"
TURNS = ["what is up?", "and more", "all of it"]


def make(template: str | None, **options) -> tuple:
    tokenizer = train_tokenizer("char", [TEXT], padding_side="left", **options)
    tokenizer.chat_template = template
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    config = LMUConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, order=4, theta=30.0, **ids)
    model = randomised(LMUForCausalLM(config), torch.float32)
    with torch.no_grad():  # no special token is ever the likeliest: half the logit of an ordinary one
        model.lm_head.weight[tokenizer.all_special_ids] = model.lm_head.weight[10] / 2
    return model, tokenizer


def greedy(talk: Talk, text: str) -> list[int]:
    return list(talk.ask(text, 12, 0.0, None, None))


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, TEXT_TEMPLATE], ids=["turns", "text"])
def test_answers_are_those_of_a_model_that_reads_the_whole_chat(template):
    model, tokenizer = make(template)
    talk, lengths = Talk(model, tokenizer, "all of it"), []
    stream = model.stream
    model.stream = lambda ids, *args: lengths.append(len(ids)) or stream(ids, *args)
    for text in TURNS:
        answer = greedy(talk, text)
        chat = tokenizer.apply_chat_template(talk.turns[:-1], add_generation_prompt=True, return_dict=True)
        whole = model.generate(torch.tensor([chat["input_ids"]]), max_new_tokens=12, do_sample=False)
        assert answer == whole[0, len(chat["input_ids"]) :].tolist()
    # What was read is the chat without its last token, each token of it once.
    read = tokenizer.apply_chat_template(talk.turns[:-1], add_generation_prompt=True, return_dict=True)["input_ids"]
    assert sum(lengths) + 11 * len(TURNS) == len(read) + len(answer) - 1
    assert talk.memories.get_seq_length() == len(read) + len(answer) - 1
    talk.clear()
    assert talk.turns == [{"role": "system", "content": "all of it"}] and talk.memories.layers[0].memory is None


def test_an_end_of_turn_is_read_once_whoever_wrote_it():
    model, tokenizer = make(CHAT_TEMPLATE)
    up, end = tokenizer("up")["input_ids"], tokenizer.eos_token_id
    given = []
    for answer in ([*up, end], up):  # one that has ended, and one that was cut off
        talk = Talk(model, tokenizer)
        model.stream = lambda ids, *args, answer=answer: given.append(ids.tolist()) or iter(answer)
        greedy(talk, "what"), greedy(talk, "all")
        assert talk.turns[1] == {"role": "assistant", "content": "up"}
    rest = tokenizer("<eos>user: all<eos>assistant: ")["input_ids"]
    assert given[1] == rest and given[3] == [up[-1], *rest]


def test_a_template_that_rewrites_earlier_turns_is_read_anew(capsys):
    last_only = "{{ messages[-1]['content'] }}"
    model, tokenizer = make(last_only)
    talk = Talk(model, tokenizer)
    greedy(talk, TURNS[0])
    again = greedy(talk, TURNS[1])
    assert "rewritten" in capsys.readouterr().err
    assert again == greedy(Talk(model, tokenizer), TURNS[1])


def test_a_base_model_continues_what_was_said():
    _, tokenizer = make(None)
    chat = [{"role": "user", "content": "what is"}, {"role": "assistant", "content": " up?"}]
    assert continue_chats(tokenizer)
    assert tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) == "what is up?"
    assert not continue_chats(tokenizer)
    _, begins = make(None, add_bos=True)
    continue_chats(begins)
    given = begins.apply_chat_template(chat, return_dict=True)["input_ids"]
    assert given == begins("what is up?")["input_ids"]


def test_turns_end_and_mark_what_the_model_says():
    _, tokenizer = make(CHAT_TEMPLATE)
    chat = [{"role": "user", "content": "what"}, {"role": "assistant", "content": "all"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == "user: what<eos>assistant: all<eos>"
    assert tokenizer.apply_chat_template(chat[:1], tokenize=False, add_generation_prompt=True).endswith("assistant: ")
    said = tokenizer.apply_chat_template(chat, return_dict=True, return_assistant_tokens_mask=True)
    marked = [token for token, own in zip(said["input_ids"], said["assistant_masks"], strict=True) if own]
    assert tokenizer.decode(marked) == "all<eos>"


def test_the_verb_answers_lines_of_standard_input(tmp_path, monkeypatch, capsys):
    model, tokenizer = make(CHAT_TEMPLATE)
    model.save_pretrained(tmp_path), tokenizer.save_pretrained(tmp_path)
    lines = "what is up?\n\nand more\n/clear\nwhat is up?\n/exit\nnever\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    run_verb("chat", argv=[str(tmp_path), "--temperature", "0", "--max_new_tokens", "12"])
    said, told = capsys.readouterr()
    expected = []
    talk = Talk(model, tokenizer)
    for text in ("what is up?", "and more", None, "what is up?"):
        if text is None:
            talk.clear()
        else:
            expected.append(tokenizer.decode(greedy(talk, text), skip_special_tokens=True))
    assert said == "".join(f"{answer}\n" for answer in expected)
    assert f"carrying {model.config.state_size:,} numbers" in told and "no chat template" not in told
