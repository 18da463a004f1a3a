"""Supervised fine-tuning on chats: a template writes `<eos>` behind each answer, and the model learns to stop there."""

import pytest
import torch

from lmu_hf import LMUConfig, LMUForCausalLM, train_tokenizer

TEMPLATE = (
    "{% for message in messages %}{{ message.role[0] }}:{{ message.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}"
)
CHATS = [
    [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    for question, answer in (("up?", "down"), ("left?", "right"), ("in?", "out"))
]


@pytest.mark.parametrize(("kind", "options"), [("char", {}), ("byte", {}), ("word", {}), ("bpe", {"vocab_size": 270})])
def test_a_model_fine_tuned_on_chats_ends_its_answers(kind, options):
    texts = [f"{message['content']} u : a :" for chat in CHATS for message in chat]
    tokenizer = train_tokenizer(kind, texts, padding_side="left", **options)
    tokenizer.chat_template = TEMPLATE
    batch = tokenizer.apply_chat_template(CHATS, padding=True, return_dict=True, return_tensors="pt")
    assert (batch["input_ids"] == tokenizer.eos_token_id).sum(1).tolist() == [2] * len(CHATS)
    config = LMUConfig(
        **{"vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 1, "order": 4, "theta": 12.0},
        **{name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")},
    )
    model = LMUForCausalLM(config)
    labels = batch["input_ids"].where(batch["attention_mask"].bool(), torch.tensor(-100))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    for _ in range(80):
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    for chat in CHATS:
        asked = tokenizer.apply_chat_template(
            chat[:1], add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )
        made = model.generate(**asked, max_new_tokens=40, do_sample=False)[0, asked["input_ids"].shape[1] :]
        assert made[-1] == tokenizer.eos_token_id and len(made) < 40
        assert tokenizer.decode(made, skip_special_tokens=True) == chat[1]["content"]
