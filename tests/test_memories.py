"""A file of memories is gone on from only if it is wholly what a model would have carried."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lmu_hf import LMUForCausalLM, load_memories, save_memories
from tiny_stacks import draw_ids, tiny

FAULTS = {
    "not finite": ("layers.1.memory", lambda memory: memory.fill_(torch.nan)),
    "of another shape": ("layers.1.memory", lambda memory: memory[:, :, :-1].contiguous()),
    "of other rows": ("layers.1.memory", lambda memory: memory[:1].contiguous()),
    "of another dtype": ("layers.1.memory", lambda memory: memory.double()),
    "half precision": ("layers.0.memory", lambda memory: memory.half()),
    "a negative count": ("layers.0.tokens", lambda count: -count),
    "a count that is no integer": ("layers.0.tokens", lambda count: count.double()),
    "a count for each row": ("layers.0.tokens", lambda count: count.repeat(2)),
    "counts that differ": ("layers.1.tokens", lambda count: count + 1),
    "missing": ("layers.1.tokens", None),
    "ids beyond the vocabulary": ("layers.0.last_tokens", lambda ids: ids + 10**6),
    "negative ids": ("layers.0.last_tokens", lambda ids: -ids - 1),
    "too few ids": ("layers.0.last_tokens", lambda ids: ids[:, 1:].contiguous()),
}


@pytest.fixture
def saved(tmp_path):
    model = LMUForCausalLM(tiny(ngrams={"sizes": [2, 4], "buckets": 20, "width": 3})).eval()
    with torch.no_grad():
        memories = model(draw_ids(2, 9), use_cache=True).past_key_values
    save_memories(memories, tmp_path / "m", model.config)
    return tmp_path / "m", model.config


def rewrite(path, tensors) -> None:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file(tensors, path, metadata=metadata)


@pytest.mark.parametrize(("name", "change"), FAULTS.values(), ids=FAULTS)
def test_a_file_with_a_fault_is_refused_by_its_path_and_tensor_in_one_line(saved, name, change):
    path, config = saved
    assert int(load_memories(path, config).get_seq_length()) == 9
    tensors = load_file(path)
    held = tensors.pop(name)
    rewrite(path, tensors if change is None else {**tensors, name: change(held)})
    with pytest.raises(ValueError, match=r"cannot be gone on from: layers\.\d") as caught:
        load_memories(path, config)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_tensors_that_no_layer_has_are_refused(saved):
    path, config = saved
    rewrite(path, {**load_file(path), "layers.2.memory": torch.zeros(2, 6, 3)})
    with pytest.raises(ValueError, match=r"layers\.2\.memory is unexpected"):
        load_memories(path, config)


def test_memories_that_could_not_be_read_again_are_not_written_over_good_ones(saved):
    path, config = saved
    good = path.read_bytes()
    memories = load_memories(path, config)
    memories.layers[1].memory.fill_(torch.inf)
    with pytest.raises(ValueError, match=r"is not written: layers\.1\.memory is not finite"):
        save_memories(memories, path, config)
    assert path.read_bytes() == good
