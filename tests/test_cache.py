"""What a layer remembers between calls, through the caches that transformers builds from a config."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import set_seed
from transformers.cache_utils import Cache, DynamicCache, StaticCache

from lmu_hf import LMUForCausalLM, load_memories, save_memories
from lmu_hf.cache_lmu import LMUCacheLayer
from lmu_hf.configuration_lmu import LMUConfig
from lmu_hf.recording import cache_of, carried_tensors

B, D_U, D = 3, 2, 4
CONFIG = LMUConfig(hidden_size=8, num_hidden_layers=2, order=D, memory_channels=D_U, theta=9)


@pytest.fixture(params=["dynamic", "static"])
def cache(request) -> Cache:
    if request.param == "dynamic":
        return DynamicCache(config=CONFIG)
    return StaticCache(config=CONFIG, max_cache_len=16)


def memory_of(*rows: float) -> Tensor:
    """One memory (b, d_u, d) whose rows are told apart by their value."""
    return torch.tensor(rows, dtype=torch.float32)[:, None, None].expand(-1, D_U, D).clone()


def write(cache: Cache, memory: Tensor, tokens: int = 1) -> None:
    for layer in range(len(cache.layers)):
        cache.update_recurrent_state(memory, layer, tokens=tokens)


def rows(cache: Cache, layer: int = 1) -> list[float]:
    memory = cache.get_recurrent_state(layer)
    assert memory.eq(memory[:, :1, :1]).all()  # whole rows move, not parts of them
    return memory[:, 0, 0].tolist()


def test_the_config_alone_builds_one_memory_per_layer(cache):
    assert len(cache.layers) == 2
    assert all(type(layer) is LMUCacheLayer for layer in cache.layers)
    assert cache.is_compileable
    assert not any(layer.is_croppable for layer in cache.layers)


def test_the_cache_is_empty_before_the_first_token(cache):
    assert cache.get_seq_length() == 0
    assert cache.get_recurrent_state(0) is None
    assert not cache.has_previous_state(0)
    assert cache.layers[0].memory is None
    assert cache.get_max_length() == -1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_written_memory_is_read_back_unchanged(cache, dtype):
    memory = torch.randn(B, D_U, D, dtype=dtype)
    write(cache, memory)
    for layer in range(2):
        assert torch.equal(cache.get_recurrent_state(layer), memory)
        assert cache.get_recurrent_state(layer).dtype == dtype
        assert torch.equal(cache.layers[layer].memory, memory)
        assert cache.has_previous_state(layer)


def test_layers_do_not_share_a_memory(cache):
    cache.update_recurrent_state(memory_of(1, 2, 3), 0)
    assert cache.get_recurrent_state(1) is None
    cache.update_recurrent_state(memory_of(4, 5, 6), 1)
    assert rows(cache, 0) == [1, 2, 3]
    assert rows(cache, 1) == [4, 5, 6]


def test_a_written_memory_does_not_change_when_the_caller_changes_the_tensor(cache):
    memory = memory_of(1, 2, 3)
    write(cache, memory)
    memory.zero_()
    assert rows(cache) == [1, 2, 3]


def test_the_length_counts_every_token(cache):
    for tokens in (5, 1, 1, 7):
        write(cache, memory_of(1, 2, 3), tokens)
    assert cache.get_seq_length() == 14
    assert cache.get_seq_length(1) == 14
    assert cache.get_mask_sizes(3, 0) == (17, 0)


def test_the_size_does_not_depend_on_the_tokens(cache):
    def size() -> int:
        tensors = [value for layer in cache.layers for value in vars(layer).values() if isinstance(value, Tensor)]
        tensors += [state for layer in cache.layers for state in layer.recurrent_states.values()]
        return sum(tensor.untyped_storage().nbytes() for tensor in tensors)

    write(cache, memory_of(1, 2, 3), tokens=1)
    first = size()
    for tokens in (1, 1000, 10**6):
        write(cache, memory_of(1, 2, 3), tokens)
    assert size() == first == 2 * (B * D_U * D * 4 + 8)


def test_rows_are_reordered_repeated_and_selected(cache):
    write(cache, memory_of(1, 2, 3), tokens=5)
    cache.reorder_cache(torch.tensor([2, 0, 0]))
    assert rows(cache) == [3, 1, 1]
    cache.batch_repeat_interleave(2)
    assert rows(cache) == [3, 3, 1, 1, 1, 1]
    cache.batch_select_indices(torch.tensor([5, 1]))
    assert rows(cache) == [1, 3]
    assert cache.get_seq_length() == 5
    write(cache, memory_of(7, 8))
    assert rows(cache) == [7, 8]
    assert cache.get_seq_length() == 6


def test_moving_rows_of_an_empty_cache_moves_nothing(cache):
    cache.reorder_cache(torch.tensor([0]))
    cache.batch_repeat_interleave(2)
    cache.batch_select_indices(torch.tensor([0]))
    assert cache.get_recurrent_state(0) is None


def test_reset_forgets_everything_and_keeps_the_allocation(cache):
    write(cache, memory_of(1, 2, 3), tokens=5)
    place = cache.get_recurrent_state(0).data_ptr()
    cache.reset()
    assert cache.get_seq_length() == 0
    assert cache.get_recurrent_state(0) is None
    assert cache.layers[0].memory is None
    write(cache, memory_of(4, 5, 6))
    assert rows(cache) == [4, 5, 6]
    assert cache.get_seq_length() == 1
    assert cache.get_recurrent_state(0).data_ptr() == place


def test_reset_before_the_first_token_is_harmless(cache):
    cache.reset()
    assert cache.get_seq_length() == 0


def test_an_update_with_keys_and_values_is_refused_and_with_none_gives_none(cache):
    keys = torch.zeros(B, 1, 1, D)
    with pytest.raises(ValueError, match="carries a memory, not keys and values"):
        cache.update(keys, keys, 0)
    assert cache.update(None, None, 0) == (None, None)


def test_a_memory_cannot_be_rolled_back(cache):
    write(cache, memory_of(1, 2, 3), tokens=5)
    with pytest.raises(ValueError, match="cannot be rolled back"):
        cache.crop(1)
    assert rows(cache) == [1, 2, 3]


def test_without_gradients_the_memory_is_written_in_place(cache):
    write(cache, memory_of(1, 2, 3))
    places = [cache.get_recurrent_state(layer).data_ptr() for layer in range(2)]
    counters = [layer.cumulative_length.data_ptr() for layer in cache.layers]
    with torch.no_grad():
        for _ in range(3):
            write(cache, memory_of(4, 5, 6).requires_grad_())
    assert [cache.get_recurrent_state(layer).data_ptr() for layer in range(2)] == places
    assert [layer.cumulative_length.data_ptr() for layer in cache.layers] == counters
    assert not cache.get_recurrent_state(0).requires_grad
    assert rows(cache) == [4, 5, 6]


def test_gradients_flow_through_the_carried_memory(cache):
    start = memory_of(1, 2, 3).requires_grad_()
    cache.update_recurrent_state(2 * start, 0)
    cache.update_recurrent_state(cache.get_recurrent_state(0).square(), 0)
    cache.update_recurrent_state(cache.get_recurrent_state(0) + 1, 0)
    (gradient,) = torch.autograd.grad(cache.get_recurrent_state(0).sum(), start)
    assert torch.equal(gradient, 8 * start)


@pytest.mark.parametrize("afterwards", ["an update without gradients", "a reset"])
def test_gradients_through_the_memory_survive_a_reset_and_a_later_write(cache, afterwards):
    start = memory_of(1, 2, 3).requires_grad_()
    cache.update_recurrent_state(2 * start, 0)
    loss = cache.get_recurrent_state(0).square().sum()
    if afterwards == "a reset":
        cache.reset()
    else:
        with torch.no_grad():
            cache.update_recurrent_state(memory_of(4, 5, 6), 0)
        assert not cache.get_recurrent_state(0).requires_grad
    (gradient,) = torch.autograd.grad(loss, start)
    assert torch.equal(gradient, 8 * start)


def test_the_memory_goes_and_comes_back_with_its_device(cache):
    write(cache, memory_of(1, 2, 3), tokens=5)
    for layer in cache.layers:
        layer.offload()
        layer.prefetch()
    assert rows(cache) == [1, 2, 3]
    assert cache.get_seq_length() == 5


# --------------------------------------------------------------------------- memories in a file


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_file_gives_back_every_bit(cache, dtype, tmp_path):
    for layer in range(2):
        cache.update_recurrent_state(torch.randn(B, D_U, D, dtype=dtype), layer, tokens=123)
    save_memories(cache, tmp_path / "m.safetensors", CONFIG)
    again = load_memories(tmp_path / "m.safetensors", CONFIG)
    for layer in range(2):
        assert torch.equal(again.get_recurrent_state(layer), cache.get_recurrent_state(layer))
        assert again.get_recurrent_state(layer).dtype == dtype
    assert again.get_seq_length() == 123
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors"]


ELSEWHERE = """
import json, sys
import torch
from lmu_hf import LMUForCausalLM, load_memories
folder = sys.argv[1]
model = LMUForCausalLM.from_pretrained(folder)
with torch.no_grad():
    read = load_memories(folder + "/m.safetensors", model.config)
    logits = model(torch.tensor([[5], [3]]), past_key_values=read).logits
print(json.dumps(logits.double().tolist()))
"""


def test_another_process_goes_on_with_the_same_bits(tmp_path):
    set_seed(0)
    model = LMUForCausalLM(CONFIG).eval()
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        read = model(torch.randint(256, (2, 50)), use_cache=True).past_key_values
        save_memories(read, tmp_path / "m.safetensors", model.config)
        expected = model(torch.tensor([[5], [3]]), past_key_values=read).logits
    command = [sys.executable, "-c", "import torch; torch.set_num_threads(1)\n" + ELSEWHERE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert torch.equal(torch.tensor(json.loads(done.stdout)), expected)


def test_memories_that_cannot_be_kept_are_refused(cache, tmp_path):
    with pytest.raises(ValueError, match="has read nothing yet"):
        save_memories(cache, tmp_path / "m", CONFIG)
    keys = DynamicCache()
    keys.update(torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1), 0)
    with pytest.raises(TypeError, match="layer 0 of the cache is a DynamicLayer"):
        save_memories(keys, tmp_path / "m", CONFIG)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("other", [{"theta": 10}, {"order": 5}, {"basis": "legendre"}, {"num_hidden_layers": 3}])
def test_memories_of_another_architecture_are_refused(cache, other, tmp_path):
    write(cache, memory_of(1, 2, 3))
    save_memories(cache, tmp_path / "m", CONFIG)
    fields = {"hidden_size": 8, "num_hidden_layers": 2, "order": D, "memory_channels": D_U, "theta": 9}
    with pytest.raises(ValueError, match="holds memories of"):
        load_memories(tmp_path / "m", LMUConfig(**{**fields, **other}))


def test_files_without_memories_are_refused_by_name(cache, tmp_path):
    with pytest.raises(FileNotFoundError):
        load_memories(tmp_path / "nowhere", CONFIG)
    save_file({"weight": torch.zeros(2)}, tmp_path / "weights")
    with pytest.raises(ValueError, match="weights holds no memories"):
        load_memories(tmp_path / "weights", CONFIG)
    write(cache, memory_of(1, 2, 3))
    save_memories(cache, tmp_path / "m", CONFIG)
    whole = (tmp_path / "m").read_bytes()
    for length in (0, 5, len(whole) - 3):
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(ValueError, match="cut cannot be read"):
            load_memories(tmp_path / "cut", CONFIG)


# --------------------------------------------------------------------------- modes do not outlive a call


def test_memories_of_a_stream_can_be_used_anywhere():
    model = LMUForCausalLM(CONFIG).eval()
    ids = torch.arange(1, 7)[None]
    whole = model(ids).logits
    memories = DynamicCache(config=model.config)
    stream = model.stream(ids[:, :3], past_key_values=memories)
    next(stream)
    del stream  # half way
    assert not any(tensor.is_inference() for tensor in carried_tensors(memories))
    read = model(ids[:, 3:], past_key_values=memories)
    torch.testing.assert_close(read.logits, whole[:, 3:], rtol=0, atol=1e-5)
    read.logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    memories.reset()
    memories.batch_repeat_interleave(2)
    model.generate(ids.expand(2, -1), past_key_values=memories, max_new_tokens=2)


def test_memories_made_in_inference_mode_can_be_used_outside_it():
    model = LMUForCausalLM(CONFIG).eval()
    ids = torch.arange(1, 7)[None]
    with torch.inference_mode():
        memories = cache_of(model(ids, use_cache=True))
        memories.batch_repeat_interleave(3)
        memories.reorder_cache(torch.tensor([2, 1, 0]))
    tensors = [tensor for tensor in carried_tensors(memories)]
    assert not any(tensor.is_inference() or tensor.requires_grad for tensor in tensors)
    following = ids.expand(3, -1)
    read = model(following, past_key_values=memories)
    torch.testing.assert_close(read.logits[:1], model(torch.cat([ids, ids], 1)).logits[:, 6:], rtol=0, atol=1e-5)
    read.logits.sum().backward()


def test_memories_with_gradients_are_kept_without_them_in_inference_mode():
    layer = LMUCacheLayer()
    layer.update_recurrent_state(memory_of(1, 2, 3).requires_grad_() * 1)
    assert layer.memory.requires_grad
    with torch.inference_mode():
        layer.update_recurrent_state(memory_of(4, 5, 6))
    assert not layer.memory.requires_grad and not layer.memory.is_inference()


def test_caches_of_other_classes_are_refused():
    model = LMUForCausalLM(CONFIG).eval()
    ids = torch.arange(1, 7)[None]
    deeper = LMUConfig(hidden_size=8, num_hidden_layers=3, order=D, theta=9)
    for other in (DynamicCache(), ((ids, ids),), DynamicCache(config=deeper)):
        with pytest.raises(TypeError, match=r"cache must hold LMU memories: build it as DynamicCache\(config="):
            model(ids, past_key_values=other)
