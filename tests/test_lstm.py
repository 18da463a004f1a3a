"""The LSTM that stands in a memory's place as a baseline keeps the memory's contract."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

from lmu_hf import LMUConfig, load_memories, save_memories
from lmu_hf.lstm import LSTMLayer


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return LSTMLayer(5, 6).double()


def config(**fields):
    return LMUConfig(
        **{"vocab_size": 20, "hidden_size": 12, "num_hidden_layers": 2, "cell": "lstm", "pad_token_id": 0, **fields}
    )


@pytest.fixture
def model():
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config(eos_token_id=None)).eval().double()


@pytest.mark.parametrize("split", [1, 4, 6])
def test_in_two_pieces_as_in_one(layer, split):
    x = torch.randn(3, 7, 5, dtype=torch.float64)
    whole, final = layer(x, return_final=True)
    first, state = layer(x[:, :split], return_final=True)
    second, again = layer(x[:, split:], initial=state, return_final=True)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    torch.testing.assert_close(again, final)
    assert final.shape == (3, layer.state_size // 2, 2)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_ragged_batch_as_its_rows_alone(bidirectional):
    layer = LSTMLayer(5, 6, bidirectional).double()
    x, lengths = torch.randn(3, 7, 5, dtype=torch.float64), torch.tensor([7, 1, 4])
    together, _ = layer(x, lengths=lengths)
    for row, length in enumerate(lengths):
        alone, _ = layer(x[row : row + 1, :length])
        torch.testing.assert_close(together[row : row + 1, :length], alone)


def test_the_last_step_alone(layer):
    x, lengths = torch.randn(3, 7, 5, dtype=torch.float64), torch.tensor([7, 1, 4])
    whole, _ = layer(x)
    last, final = layer(x, lengths=lengths, last_only=True, return_final=True)
    torch.testing.assert_close(last[:, 0], whole[torch.arange(3), lengths - 1])
    torch.testing.assert_close(final[..., 0], last[:, 0])


def test_what_it_refuses():
    with pytest.raises(ValueError, match="even"):
        LSTMLayer(4, 5, bidirectional=True)
    with pytest.raises(ValueError, match="causal"):
        LSTMLayer(4, 6, bidirectional=True)(torch.randn(1, 3, 4), last_only=True)
    with pytest.raises(Exception, match="cell must be one of"):
        config(cell="gru")


@pytest.mark.parametrize("block_type", ["lmu", "residual", "highway", "sandwich"])
def test_every_block_holds_one(block_type):
    model = AutoModelForCausalLM.from_config(config(block_type=block_type))
    assert sum(isinstance(module, LSTMLayer) for module in model.modules()) == 2
    model(torch.randint(1, 20, (2, 6)), labels=torch.randint(1, 20, (2, 6))).loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_steps_equal_the_whole(model):
    ids = torch.randint(1, 20, (2, 9))
    whole = model(ids).logits
    cache = None
    for place in range(9):
        output = model(ids[:, place : place + 1], past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        torch.testing.assert_close(output.logits[:, 0], whole[:, place])


def test_it_generates(model):
    ids = torch.randint(1, 20, (2, 3))
    with_cache = model.generate(ids, max_new_tokens=8, do_sample=False)
    assert torch.equal(with_cache, model.generate(ids, max_new_tokens=8, do_sample=False, use_cache=False))
    assert [int(token) for token in model.stream(ids[:1], max_new_tokens=8)] == with_cache[0, 3:].tolist()


def test_its_state_is_saved_and_not_mistaken_for_a_memory(model, tmp_path):
    output = model(torch.randint(1, 20, (1, 4)), use_cache=True)
    save_memories(output.past_key_values, tmp_path / "state", model.config)
    again = load_memories(tmp_path / "state", model.config)
    assert torch.equal(again.layers[1].memory, output.past_key_values.layers[1].memory)
    with pytest.raises(ValueError, match="this model's are"):
        load_memories(tmp_path / "state", config(cell="lmu"))


def test_it_is_saved_loaded_and_counted(tmp_path):
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config(num_labels=3)).eval()
    model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    ids = torch.randint(1, 20, (2, 5))
    assert torch.equal(model(ids).logits, again(ids).logits)
    assert model.config.state_size == sum(m.state_size for m in model.modules() if isinstance(m, LSTMLayer))
    assert sum(model.config.asked_bytes().values()) > 4 * model.num_parameters() * 0.9
    lstm = model.model.layers[0].memory.lstm
    assert torch.equal(lstm.bias_hh_l0[12:24], torch.ones(12))


def test_it_translates():
    model = AutoModelForSeq2SeqLM.from_config(
        config(is_encoder_decoder=True, bidirectional=True, decoder_start_token_id=1, bos_token_id=1, eos_token_id=2)
    ).eval()
    ids = torch.randint(3, 20, (2, 5))
    beams = model.generate(ids, num_beams=3, max_new_tokens=6)
    greedy = model.generate(ids, max_new_tokens=6, use_cache=False)
    assert torch.equal(greedy, model.generate(ids, max_new_tokens=6)) and beams.shape[0] == 2
