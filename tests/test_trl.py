"""TRL trains a folder of the family by its name: fine-tuning, preferences without a reference model, rewards."""

from pathlib import Path

import pytest
import torch
from datasets import Dataset

from lmu_hf import CHAT_TEMPLATE, LMUConfig, LMUForCausalLM, train_tokenizer

trl = pytest.importorskip("trl", reason="fine-tuning on chats and preferences needs it: pip install trl")

TEXT = "user: assistant: what is up? all of it, and more 0123456789"
CHATS = [
    [{"role": "user", "content": "what is up?"}, {"role": "assistant", "content": f"{number} all"}]
    for number in range(4)
]
COMMON = {"max_steps": 1, "per_device_train_batch_size": 2, "report_to": "none", "use_cpu": True, "bf16": False}
COMMON |= {"save_strategy": "no", "disable_tqdm": True, "gradient_checkpointing": False}
REWARDED = {"num_generations": 2, "max_completion_length": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = train_tokenizer("char", [TEXT], padding_side="left")
    tokenizer.chat_template = CHAT_TEMPLATE
    torch.manual_seed(0)
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    config = LMUConfig(vocab_size=len(tokenizer), hidden_size=8, num_hidden_layers=1, order=3, theta=9.0, **ids)
    LMUForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def reward(completions, **kwargs) -> list[float]:
    return [float(str(completion).count("a")) for completion in completions]


def fine_tuning(folder: str, output: Path):
    rows = Dataset.from_list([{"messages": chat} for chat in CHATS])
    config = trl.SFTConfig(str(output), assistant_only_loss=True, **COMMON)
    return trl.SFTTrainer(model=folder, args=config, train_dataset=rows)


def preferences(folder: str, output: Path):
    rows = [{"prompt": chat[:1], "chosen": chat[1:], "rejected": [{**chat[1], "content": "?"}]} for chat in CHATS]
    return trl.DPOTrainer(
        model=folder, args=trl.DPOConfig(str(output), **COMMON), train_dataset=Dataset.from_list(rows)
    )


def groups(folder: str, output: Path):
    rows = Dataset.from_list([{"prompt": chat[:1]} for chat in CHATS])
    config = trl.GRPOConfig(str(output), **REWARDED, **COMMON)
    return trl.GRPOTrainer(model=folder, reward_funcs=reward, args=config, train_dataset=rows)


def leave_one_out(folder: str, output: Path):
    rows = Dataset.from_list([{"prompt": chat[:1]} for chat in CHATS])
    config = trl.RLOOConfig(str(output), **REWARDED, **COMMON)
    return trl.RLOOTrainer(model=folder, reward_funcs=reward, args=config, train_dataset=rows)


@pytest.mark.ecosystem
@pytest.mark.parametrize("make", [fine_tuning, preferences, groups, leave_one_out])
def test_a_trainer_takes_a_folder_by_its_name(make, folder, tmp_path):
    trainer = make(folder, tmp_path)
    assert type(trainer.model) is LMUForCausalLM
    loss = trainer.train().training_loss
    assert torch.isfinite(torch.tensor(loss))
    if make is preferences:  # both policies are the same at first: −log σ(0)
        assert loss == pytest.approx(0.6931, abs=1e-3)
