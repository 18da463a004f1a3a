"""The LSTM that stands in a memory's place as a baseline keeps the memory's contract."""

import json

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTimeSeriesPrediction,
    AutoModelForTokenClassification,
)

import lmu_hf
from lmu_hf import LMUConfig, LSTMConfig, load_memories, save_memories
from lmu_hf.lstm import LSTMLayer
from lmu_hf.training.recipes import get_recipe
from readings import reading

AUTO = {
    "LSTMForCausalLM": AutoModelForCausalLM,
    "LSTMForSequenceClassification": AutoModelForSequenceClassification,
    "LSTMForSequencePairClassification": AutoModelForSequenceClassification,
    "LSTMForConditionalGeneration": AutoModelForSeq2SeqLM,
    "LSTMForImageClassification": AutoModelForImageClassification,
    "LSTMForTimeSeriesPrediction": AutoModelForTimeSeriesPrediction,
    "LSTMForTimeSeriesClassification": AutoModelForSequenceClassification,
    "LSTMForTokenClassification": AutoModelForTokenClassification,
}


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return LSTMLayer(5, 6).double()


def config(**fields):
    stack = {"vocab_size": 20, "hidden_size": 12, "num_hidden_layers": 2, "pad_token_id": 0}
    return LSTMConfig(**{**stack, **fields})


@pytest.fixture
def model():
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config(eos_token_id=None)).eval().double()


@pytest.mark.parametrize("split", [1, 4, 6])
def test_an_lstm_in_two_chunks_is_the_lstm_in_one(layer, split):
    x = torch.randn(3, 7, 5, dtype=torch.float64)
    whole, final = layer(x, return_final=True)
    first, state = layer(x[:, :split], return_final=True)
    second, again = layer(x[:, split:], initial=state, return_final=True)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    torch.testing.assert_close(again, final)
    assert final.shape == (3, layer.state_size // 2, 2)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_ragged_batch_gives_an_lstm_each_row_alone(bidirectional):
    layer = LSTMLayer(5, 6, bidirectional).double()
    x, lengths = torch.randn(3, 7, 5, dtype=torch.float64), torch.tensor([7, 1, 4])
    together, _ = layer(x, reading=reading(7, lengths))
    for row, length in enumerate(lengths):
        alone, _ = layer(x[row : row + 1, :length])
        torch.testing.assert_close(together[row : row + 1, :length], alone)


def test_the_last_output_of_an_lstm_alone_is_the_last_of_all(layer):
    x, lengths = torch.randn(3, 7, 5, dtype=torch.float64), torch.tensor([7, 1, 4])
    whole, _ = layer(x)
    last, final = layer(x, reading=reading(7, lengths, "last"), return_final=True)
    torch.testing.assert_close(last[:, 0], whole[torch.arange(3), lengths - 1])
    torch.testing.assert_close(final[..., 0], last[:, 0])


def test_an_lstm_refuses_odd_bidirectional_widths_and_memory_fields():
    with pytest.raises(ValueError, match="even"):
        LSTMLayer(4, 5, bidirectional=True)
    with pytest.raises(ValueError, match="causal"):
        LSTMLayer(4, 6, bidirectional=True)(torch.randn(1, 3, 4), reading=reading(3, wanted="last"))
    with pytest.raises(ValueError, match="order has no effect on an LSTM, which has no Legendre memory: leave it out"):
        config(order=7)


@pytest.mark.parametrize("block_type", ["lmu", "residual", "highway"])
def test_every_block_type_holds_an_lstm(block_type):
    model = AutoModelForCausalLM.from_config(config(block_type=block_type))
    assert sum(isinstance(module, LSTMLayer) for module in model.modules()) == 2
    model(torch.randint(1, 20, (2, 6)), labels=torch.randint(1, 20, (2, 6))).loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_single_steps_of_an_lstm_equal_the_whole(model):
    ids = torch.randint(1, 20, (2, 9))
    whole = model(ids).logits
    cache = None
    for place in range(9):
        output = model(ids[:, place : place + 1], past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        torch.testing.assert_close(output.logits[:, 0], whole[:, place])


def test_an_lstm_generates(model):
    ids = torch.randint(1, 20, (2, 3))
    with_cache = model.generate(ids, max_new_tokens=8, do_sample=False)
    assert torch.equal(with_cache, model.generate(ids, max_new_tokens=8, do_sample=False, use_cache=False))
    assert [int(token) for token in model.stream(ids[:1], max_new_tokens=8)] == with_cache[0, 3:].tolist()


def test_an_lstms_state_is_saved_and_not_mistaken_for_a_memory(model, tmp_path):
    output = model(torch.randint(1, 20, (1, 4)), use_cache=True)
    save_memories(output.past_key_values, tmp_path / "state", model.config)
    again = load_memories(tmp_path / "state", model.config)
    assert torch.equal(again.layers[1].memory, output.past_key_values.layers[1].memory)
    with pytest.raises(ValueError, match="this model's are"):
        load_memories(tmp_path / "state", LMUConfig(vocab_size=20, hidden_size=12, num_hidden_layers=2))


def test_an_lstm_model_is_saved_loaded_and_counted(tmp_path):
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


def test_an_lstm_translates():
    model = AutoModelForSeq2SeqLM.from_config(
        config(is_encoder_decoder=True, bidirectional=True, decoder_start_token_id=1, bos_token_id=1, eos_token_id=2)
    ).eval()
    ids = torch.randint(3, 20, (2, 5))
    beams = model.generate(ids, num_beams=3, max_new_tokens=6)
    greedy = model.generate(ids, max_new_tokens=6, use_cache=False)
    assert torch.equal(greedy, model.generate(ids, max_new_tokens=6)) and beams.shape[0] == 2


# --------------------------------------------------------------------------- rows without a step


@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_row_without_a_step_keeps_its_state_and_leaves_the_others_alone(bidirectional, goes_on):
    torch.manual_seed(0)
    layer = LSTMLayer(5, 6, bidirectional).double()
    x, lengths = torch.randn(3, 4, 5, dtype=torch.float64), torch.tensor([4, 0, 2])
    initial = torch.randn(3, 6, 2, dtype=torch.float64) if goes_on and not bidirectional else None
    output, final = layer(x, initial, reading(4, lengths), return_final=True)
    for row in (0, 2):
        before = None if initial is None else initial[row : row + 1]
        alone, left = layer(x[row : row + 1, : lengths[row]], initial=before, return_final=True)
        torch.testing.assert_close(output[row : row + 1, : lengths[row]], alone)
        torch.testing.assert_close(final[row : row + 1], left)
    assert torch.equal(final[1], torch.zeros_like(final[1]) if initial is None else initial[1])
    assert not output[1].any()


def test_the_last_output_of_a_row_without_a_step_is_its_state(layer):
    x, initial = torch.randn(2, 3, 5, dtype=torch.float64), torch.randn(2, 6, 2, dtype=torch.float64)
    last, final = layer(x, initial, reading(x.shape[1], torch.tensor([0, 3]), "last"), return_final=True)
    assert torch.equal(last[0, 0], initial[0, :, 0]) and torch.equal(final[0], initial[0])
    torch.testing.assert_close(last[1:], layer(x[1:], initial[1:], reading(x.shape[1], wanted="last"))[0])


def test_the_gradient_of_an_empty_row_passes_to_its_initial_state(layer):
    x = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    initial = torch.randn(2, 6, 2, dtype=torch.float64, requires_grad=True)
    output, final = layer(x, initial, reading(3, torch.tensor([0, 3])), return_final=True)
    (output.sum() + final[0].sum()).backward()
    assert not x.grad[0].any() and torch.equal(initial.grad[0], torch.ones(6, 2, dtype=torch.float64))


@pytest.mark.parametrize("kind", [LSTMConfig, LMUConfig])
def test_a_call_may_hold_no_step_of_a_row(kind):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(kind(vocab_size=20, hidden_size=12)).eval().double()
    ids, mask = torch.randint(1, 20, (2, 6)), torch.ones(2, 6, dtype=torch.int64)
    mask[1, 2:5] = 0  # the whole of the second call
    cache, logits = None, []
    for start, end in ((0, 2), (2, 5), (5, 6)):
        output = model(ids[:, start:end], attention_mask=mask[:, :end], past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        logits.append(output.logits)
    logits = torch.cat(logits, 1)
    torch.testing.assert_close(logits[:1], model(ids[:1]).logits)
    torch.testing.assert_close(logits[1:, [0, 1, 5]], model(ids[1:, [0, 1, 5]]).logits)


@pytest.mark.parametrize("piece", [2, 3, 5])
def test_a_prompt_read_in_pieces_may_begin_with_padding_only(model, piece):
    ids = torch.randint(1, 20, (2, 7))
    mask = torch.ones_like(ids)
    ids[1, :5], mask[1, :5] = 0, 0
    inputs = {"attention_mask": mask, "max_new_tokens": 5, "do_sample": False}
    expected = model.generate(ids, **inputs)
    assert torch.equal(model.generate(ids, prefill_chunk_size=piece, **inputs), expected)
    alone = model.generate(ids[1:, 5:], max_new_tokens=5, do_sample=False)
    assert torch.equal(expected[1, 7:], alone[0, 2:])


@pytest.mark.parametrize("kind", [LMUConfig, LSTMConfig])
def test_can_compile_fullgraph_is_declared_truthfully(kind):
    model = AutoModelForCausalLM.from_config(kind(vocab_size=20, hidden_size=12)).eval()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    ids = torch.randint(1, 20, (2, 4))
    assert model._can_compile_fullgraph == (kind is LMUConfig)
    if model._can_compile_fullgraph:
        torch.testing.assert_close(compiled(ids, use_cache=False).logits, model(ids, use_cache=False).logits)
    else:
        with pytest.raises(torch._dynamo.exc.Unsupported, match="LSTM"):
            compiled(ids, use_cache=False)


# --------------------------------------------------------------------------- what a comparison compares


def ids(n: int) -> torch.Tensor:
    return torch.arange(2 * n).reshape(2, n) % 19 + 1


IMAGE = {"vocab_size": None, "input_size": 1, "image_size": 4}
# By head: fields, inputs, and, of the model that seed 0 makes, its parameters, their absolute sum and its outputs'.
# The sums were taken when the LSTM was still a kind of block of the LMU's own models.
KNOWN = {
    "LSTMForCausalLM": ({}, {"input_ids": ids(7)}, (4884, 882.313758, 220.256350)),
    "LSTMForSequenceClassification": (
        {"bidirectional": True, "pooling": "max"},
        {"input_ids": ids(7)},
        (4107, 857.977219, 7.425043),
    ),
    "LSTMForSequencePairClassification": (
        {"block_type": "highway"},
        {"input_ids": ids(7), "pair_input_ids": ids(5)},
        (4755, 890.574496, 0.156559),
    ),
    "LSTMForConditionalGeneration": (
        {"is_encoder_decoder": True, "decoder_start_token_id": 1, "bidirectional": True, "num_attention_heads": 2},
        {"input_ids": ids(7), "decoder_input_ids": ids(4)},
        (10224, 2006.534161, 115.909401),
    ),
    "LSTMForImageClassification": (
        {"block_type": "lmu", **IMAGE},
        {"pixel_values": torch.linspace(-1, 1, 32).reshape(2, 1, 4, 4)},
        (2007, 304.473453, 1.505735),
    ),
    "LSTMForTimeSeriesPrediction": (
        {"vocab_size": None, "input_size": 1, "head_hidden_size": 5},
        {"input_values": torch.linspace(-1, 1, 14).reshape(2, 7, 1)},
        (4499, 822.566887, 2.904895),
    ),
}


@torch.no_grad()
@pytest.mark.parametrize("head", KNOWN)
def test_a_seed_draws_the_same_weights_as_earlier_versions(head):
    fields, inputs, (parameters, weights, outputs) = KNOWN[head]
    torch.manual_seed(0)
    model = getattr(lmu_hf, head)(config(**{"pad_token_id": None, "num_labels": 3, **fields})).eval()
    assert model.num_parameters() == parameters
    # Sums of float32 numbers, as another machine's library rounds them.
    assert sum(p.double().abs().sum().item() for p in model.parameters()) == pytest.approx(weights, rel=1e-6)
    assert next(iter(model(**inputs).values())).double().abs().sum().item() == pytest.approx(outputs, rel=1e-4)


@pytest.mark.parametrize("head", KNOWN)
def test_every_head_is_saved_and_loaded_as_its_own_class(head, tmp_path):
    model = getattr(lmu_hf, head)(config(num_labels=3, **KNOWN[head][0])).eval()
    model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["model_type"] == "lmu_lstm" and not {"order", "theta", "readout"} & set(saved)
    again = AUTO[head].from_pretrained(tmp_path)
    assert type(again) is type(model)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())


def test_an_lstm_baseline_drops_the_fields_of_a_memory():
    ours = get_recipe("text8")
    theirs = ours.baseline("lstm")
    assert theirs.name == "text8-lstm" and theirs.hyperparameters() == ours.hyperparameters()
    assert theirs.architecture == {
        **{"hidden_size": 152, "num_hidden_layers": 5, "hidden_dropout": 0.05, "model_type": "lmu_lstm"}
    }
    with pytest.raises(ValueError, match="baseline must be one of lstm, got 'gru'"):
        ours.baseline("gru")
