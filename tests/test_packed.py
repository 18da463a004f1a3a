"""Sequences packed end to end in one row against each of them alone: memories, layers, models, heads."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import DataCollatorWithFlattening, Trainer, TrainingArguments
from transformers.cache_utils import DynamicCache

from families import config_of
from lmu_hf import (
    LMUConfig,
    LMUForCausalLM,
    LMUForConditionalGeneration,
    LMUForImageClassification,
    LMUForSequenceClassification,
    LMUForSequencePairClassification,
    LMUForTimeSeriesPrediction,
    LMUModel,
)
from lmu_hf.chunks import Plan, Sequences, Shape, entry_memories, plan_readout, readout_cost
from lmu_hf.configuration_lmu import CHOICES
from lmu_hf.layers import LMULayer
from lmu_hf.layout import Packed
from lmu_hf.lstm import LSTMLayer
from lmu_hf.memory import memory_packed, memory_packed_final, memory_recurrent
from lmu_hf.readout import COLUMNS, read_states
from lmu_hf.statespace import LegendreSystem
from readings import reading

SYSTEM = LegendreSystem(4, 9.0)
TWO = (SYSTEM, LegendreSystem(SYSTEM.order, 40.0))
LENGTHS = (5, 1, 70, 33, 1, 2, 140)
lengths_drawn = st.lists(st.integers(1, 90), min_size=1, max_size=12).map(tuple)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def near(a: Tensor, b: Tensor, tolerance: float = 1e-11) -> bool:
    a, b = a.detach(), b.detach()
    return a.shape == b.shape and bool((a - b).abs().max() <= tolerance * max(float(b.abs().max()), 1.0))


def alone(run: Callable, u: Tensor, lengths: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Each sequence by itself: outputs end to end, and final memories as rows."""
    outputs, finals = zip(*(run(part) for part in u.split(lengths, dim=1)), strict=True)
    return torch.cat(outputs, dim=1), torch.cat(finals)


def with_gradients(run: Callable, *inputs: Tensor) -> list[Tensor]:
    """What is returned, and the gradients of a random pull on all of it."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    outputs = [x for x in run(*leaves) if x is not None]
    torch.manual_seed(1)
    pulled = sum((x * noise(*x.shape)).sum() for x in outputs)
    return [*(x.detach() for x in outputs), *torch.autograd.grad(pulled, leaves)]


# --------------------------------------------------------------------------- the memory


@given(lengths=lengths_drawn, L=st.sampled_from([1, 3, 8]), columns=st.booleans())
def test_the_first_block_of_a_sequence_starts_from_an_empty_memory(lengths, L, columns):
    starts = torch.zeros(sum(lengths), dtype=torch.bool)  # lengths count blocks here
    starts[Sequences(lengths).first_steps()] = True
    u = noise(2, sum(lengths) * L, 3)
    x = u.unflatten(1, (-1, L)) if columns else u.mT.reshape(6, -1, L)
    first = u.new_zeros(2, 4, 3) if columns else u.new_zeros(6, 4)
    entry = entry_memories(x, SYSTEM, first, columns, starts)
    for row in range(2):
        m, _ = alone(partial(memory_recurrent, system=SYSTEM), u[row : row + 1], tuple(n * L for n in lengths))
        before = m[0].unflatten(0, (-1, L))[:, -1].roll(1, 0).masked_fill(starts[:, None, None], 0)  # (blocks, d_u, d)
        assert near(entry[row].mT if columns else entry.unflatten(0, (2, 3))[row].transpose(0, 1), before)


@pytest.mark.parametrize("system", [SYSTEM, LegendreSystem(64, 200.0, basis="unit")], ids=str)
@pytest.mark.parametrize("lengths", [LENGTHS, (3,), (1, 1, 1), tuple(range(1, 60)), (2500, 7, 1300)], ids=len)
def test_every_sequence_begins_with_an_empty_memory(system, lengths):
    sequences, u = Sequences(lengths), noise(1, sum(lengths), 2)
    want = with_gradients(lambda u: alone(partial(memory_recurrent, system=system), u, lengths), u)
    for a, b in zip(with_gradients(lambda u: memory_packed(u, system, sequences), u), want, strict=True):
        assert near(a, b)

    def last(u: Tensor) -> tuple[Tensor, Tensor]:
        return memory_packed_final(u, system, sequences)

    def last_alone(u: Tensor) -> tuple[Tensor, Tensor]:
        _, finals = alone(partial(memory_recurrent, system=system), u, lengths)
        return finals[:, None], finals

    for a, b in zip(with_gradients(last, u), with_gradients(last_alone, u), strict=True):
        assert near(a, b)


@pytest.mark.parametrize("plan", [None, *(Plan(fused, L) for fused in (True, False) for L in (1, 4, 7))], ids=str)
@pytest.mark.parametrize("d_u", [1, 3, COLUMNS])
@pytest.mark.parametrize("lengths", [LENGTHS, tuple(range(1, 40))], ids=len)
def test_every_state_is_read_out_as_if_alone(plan, d_u, lengths):
    sequences, u, weight = Sequences(lengths), noise(1, sum(lengths), d_u), noise(5, d_u * 4)

    def read(u: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        return read_states(u, SYSTEM, weight, plan=plan, sequences=sequences)

    def read_alone(u: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        m, finals = alone(partial(memory_recurrent, system=SYSTEM), u, lengths)
        return m.flatten(2) @ weight.T, finals

    for a, b in zip(with_gradients(read, u, weight), with_gradients(read_alone, u, weight), strict=True):
        assert near(a, b)


@pytest.mark.parametrize("plan", [Plan(True, 2), Plan(False, 2)], ids=str)
@pytest.mark.parametrize("d_u", [1, COLUMNS])
def test_packed_readouts_differentiate_twice(plan, d_u):
    system, sequences = LegendreSystem(2, 4.0), Sequences((3, 1, 2))
    inputs = [noise(1, 6, d_u).requires_grad_(), noise(2, d_u * 2).requires_grad_()]

    def run(u: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        y, final = read_states(u, system, weight, plan=plan, sequences=sequences)
        return y.square(), final.sin()

    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


def test_nan_stays_in_its_own_sequence():
    u = noise(1, 300, 2)
    u[0, 120] = torch.nan
    for form in (memory_packed, partial(read_states, weight=noise(3, 8))):
        y, _ = form(u, SYSTEM, sequences=Sequences((100, 80, 120)))
        assert y[:, 120:180].isnan().all()
        assert y[:, :100].isfinite().all() and y[:, 180:].isfinite().all()


def test_chunks_of_packed_sequences_hold_little_padding():
    torch.manual_seed(0)
    lengths = torch.randint(10, 1001, (32,)).tolist()
    shape = Shape(32, sum(lengths) // 32, 6, 512, 512, packed=True)
    plan = plan_readout(shape)
    laid = Sequences(tuple(lengths)).chunks(plan.chunk, torch.device("cpu")).steps
    assert sum(lengths) <= laid <= 1.05 * sum(lengths)
    whole = Shape(32, 1000, 6, 512, 512)
    assert readout_cost(plan, shape) < 0.65 * readout_cost(plan_readout(whole), whole)


def test_short_sequences_are_read_in_short_blocks():
    plans = [plan_readout(Shape(100, n, 6, 64, 64, packed=True)) for n in (1, 5, 20, 500)]
    assert [plan.chunk for plan in plans] == sorted(plan.chunk for plan in plans)
    assert plans[0].chunk == 1 and plans[1].chunk <= 4


# --------------------------------------------------------------------------- the layer

SWITCHES = [
    {},
    {"bidirectional": True, "hidden_act": "gelu"},
    {"readout": "memory", "d_o": 8},
    {"encoder_activation": "tanh", "system": LegendreSystem(40, 60.0)},
    {"system": TWO},
    {"system": TWO, "bidirectional": True, "memory_form": "scanned"},
    *({"memory_form": form, "bidirectional": True} for form in ("recurrent", "chunked", "scanned", "fft", "toeplitz")),
]


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_the_layer_reads_each_packed_sequence_as_if_alone(switches):
    layer = LMULayer(**{"d_x": 3, "d_o": 5, "d_u": 2, "system": SYSTEM, **switches}).double()
    check_layer(layer, switches.get("bidirectional", False))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_an_lstm_reads_each_packed_sequence_as_if_alone(bidirectional):
    check_layer(LSTMLayer(3, 6, bidirectional).double(), bidirectional)


def check_layer(layer: torch.nn.Module, bidirectional: bool) -> None:
    x = noise(1, sum(LENGTHS), 3)
    parameters = dict(layer.named_parameters())

    def run(whole: Callable, x: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        call = partial(torch.func.functional_call, layer, dict(zip(parameters, values, strict=True)))
        return whole(call, x)

    def packed(call: Callable, x: Tensor) -> tuple[Tensor, Tensor]:
        return call(x, {"reading": reading(x.shape[1], LENGTHS), "return_final": True})

    def one_by_one(call: Callable, x: Tensor) -> tuple[Tensor, Tensor]:
        return alone(partial(call, kwargs={"return_final": True}), x, LENGTHS)

    inputs = [x, *parameters.values()]
    want = with_gradients(partial(run, one_by_one), *inputs)
    for a, b in zip(with_gradients(partial(run, packed), *inputs), want, strict=True):
        assert near(a, b)
    if not bidirectional:
        last, final = layer(x, reading=reading(x.shape[1], LENGTHS, "last"), return_final=True)
        assert near(last[:, 0], want[0][0, Sequences(LENGTHS).last_steps()]) and near(final, want[1])


def test_a_layers_packed_sequences_begin_empty():
    for layer, memory in ((LMULayer(3, 5, 2, SYSTEM), torch.zeros(1, 2, 4)), (LSTMLayer(3, 5), torch.zeros(1, 5, 2))):
        with pytest.raises(ValueError, match="initial"):
            layer(torch.zeros(1, 5, 3), initial=memory, reading=reading(5, (2, 3)))
    with pytest.raises(ValueError, match=r"initial \(1, 2, 4\)"):
        read_states(noise(1, 5, 2), SYSTEM, noise(3, 8), noise(1, 2, 4), sequences=Sequences((2, 3)))


def test_reversal_and_last_step_are_those_of_each_sequence():
    x, layout = torch.arange(6.0)[None, :, None], Packed((1, 3, 2))
    assert layout.reverse(x).flatten().tolist() == [0, 3, 2, 1, 5, 4]
    assert layout.last(x).flatten().tolist() == [0, 3, 5]


# --------------------------------------------------------------------------- models

CONFIGS = {
    "residual": {},
    "lmu": {"block_type": "lmu", "theta": [5, 90]},
    "highway, mixed": {"block_type": "highway", "deep_representations": True},
    "many coefficients": {"block_type": "lmu", "memory_channels": 1, "order": 40, "theta": 100},
    "fft": {"memory_form": "fft"},
    "lstm": {"model_type": "lmu_lstm"},
}


def build(model_class: type, **fields) -> torch.nn.Module:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "theta": 20}
    if "input_size" not in fields:
        sizes["vocab_size"] = 30
    return model_class(config_of({**sizes, **fields})).double()


def draw(lengths: tuple[int, ...] = LENGTHS) -> list[Tensor]:
    return [torch.randint(30, (n,)) for n in lengths]


def flatten(sequences: list[Tensor], **switches) -> dict:
    return DataCollatorWithFlattening(**switches)([{"input_ids": sequence.tolist()} for sequence in sequences])


def gradients(model: torch.nn.Module, value: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(value, [p for p in model.parameters() if p.requires_grad], materialize_grads=True))


def token_losses(model: torch.nn.Module, logits: Tensor, labels: Tensor) -> Tensor:
    """The sum over tokens, in float64, where transformers' own loss is rounded to float32."""
    return cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum")


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
def test_a_flattened_batch_is_each_sequence_alone(name, train):
    model, sequences = build(LMUForCausalLM, **CONFIGS[name]).train(train), draw()
    batch = flatten(sequences)
    packed = model(**batch, output_hidden_states=True)
    each = [model(sequence[None], output_hidden_states=True) for sequence in sequences]
    assert packed.past_key_values is None
    assert near(packed.logits, torch.cat([one.logits for one in each], dim=1), 1e-12)
    for layer, states in enumerate(packed.hidden_states):
        assert near(states, torch.cat([one.hidden_states[layer] for one in each], dim=1), 1e-12)
    pairs = zip(each, sequences, strict=True)
    want = sum(token_losses(model, one.logits, ids[None]) for one, ids in pairs if len(ids) > 1)
    got = token_losses(model, packed.logits, batch["labels"])
    assert near(got, want, 1e-12)
    tokens = sum(len(ids) - 1 for ids in sequences)
    assert abs(float(packed.loss) - float(want) / tokens) < 1e-5  # transformers rounds logits to float32
    for a, b in zip(gradients(model, got), gradients(model, want), strict=True):
        assert near(a, b, 1e-10)


@pytest.mark.parametrize("fields", [{}, {"model_type": "lmu_lstm"}], ids=str)
def test_a_packed_row_is_read_both_ways_within_each_sequence(fields):
    model, sequences = build(LMUModel, bidirectional=True, pooling="mean", **fields), draw()
    packed = model(**flatten(sequences)).last_hidden_state
    each = torch.cat([model(sequence[None]).last_hidden_state for sequence in sequences], dim=1)
    assert near(packed, each, 1e-12)
    pull = noise(*each.shape)
    for a, b in zip(gradients(model, (packed * pull).sum()), gradients(model, (each * pull).sum()), strict=True):
        assert near(a, b, 1e-10)


WAYS = {
    "position_ids": {},
    "all": {"return_flash_attn_kwargs": True, "return_seq_idx": True},
    "cu_seq_lens_q": {"return_position_ids": False, "return_flash_attn_kwargs": True},
    "seq_idx": {"return_position_ids": False, "return_seq_idx": True},
}


@pytest.mark.parametrize("way", WAYS)
def test_every_description_by_the_collator_is_understood(way):
    model, sequences = build(LMUForCausalLM), draw()
    batch = flatten(sequences, **WAYS[way])
    assert set(batch) >= {"input_ids", "labels"} | ({way} - {"all"})
    assert near(model(**batch).logits, torch.cat([model(ids[None]).logits for ids in sequences], dim=1), 1e-12)


def test_several_rows_may_be_packed():
    model, sequences = build(LMUForCausalLM), draw((5, 7, 12, 3, 1, 8))
    ids = torch.cat(sequences).view(3, 12)
    positions = torch.cat([torch.arange(len(ids)) for ids in sequences]).view(3, 12)
    out = model(ids, position_ids=positions, labels=ids, output_hidden_states=True)
    each = [model(sequence[None]) for sequence in sequences]
    assert near(out.logits.view(1, 36, -1), torch.cat([one.logits for one in each], dim=1), 1e-12)
    assert out.hidden_states[1].shape == (3, 12, 16)
    want = sum(token_losses(model, one.logits, ids[None]) for one, ids in zip(each, sequences, strict=True))
    assert abs(float(out.loss) - float(want) / 30) < 1e-5  # the labels hold the first tokens, which nothing predicts
    alike = model(ids, position_ids=torch.arange(12)[None] % 4, use_cache=False).logits  # one row of them for all
    assert near(alike, model(ids.view(9, 4)).logits.view(3, 12, -1), 1e-12)


def test_positions_without_a_restart_change_nothing():
    model = build(LMUForCausalLM).eval()
    ids = torch.stack(draw((9, 9)))
    plain = model(ids)
    told = model(ids, position_ids=torch.arange(9)[None])
    assert torch.equal(told.logits, plain.logits) and told.past_key_values is not None
    more = model(ids[:, :1], past_key_values=told.past_key_values, position_ids=torch.tensor([[9], [9]])).logits
    assert torch.equal(more, model(ids[:, :1], past_key_values=plain.past_key_values).logits)
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    positions = (mask.cumsum(1) - 1).clamp(min=0)  # as generate makes them: 0 on the padding
    assert torch.equal(model(ids, mask, position_ids=positions).logits, model(ids, mask).logits)


def test_a_prompts_positions_do_not_stop_generation_from_reading_its_end_only():
    model, ids = build(LMUForCausalLM).eval(), torch.stack(draw((9, 9)))
    whole = model(ids, position_ids=torch.arange(9)[None]).logits[:, -1:]
    assert near(model(ids, position_ids=torch.arange(9)[None], logits_to_keep=1).logits, whole, 1e-12)
    assert model.generate(ids, max_new_tokens=3, do_sample=False, pad_token_id=0).shape == (2, 12)


def test_the_last_step_of_a_packed_row_is_its_rows():
    model, sequences = build(LMUForCausalLM), draw()
    batch = flatten(sequences)
    del batch["labels"]
    assert near(model(**batch, logits_to_keep=1).logits, model(**batch).logits[:, -1:], 1e-12)
    last = model.model(**batch, wanted="last").last_hidden_state
    assert near(last, torch.cat([model.model(ids[None], wanted="last").last_hidden_state for ids in sequences]), 1e-12)


# --------------------------------------------------------------------------- heads


@pytest.mark.parametrize("pooling", CHOICES["pooling"])
@pytest.mark.parametrize("name", ["residual", "lmu", "highway, mixed", "lstm"])
def test_every_packed_sequence_has_its_class(pooling, name):
    model, sequences = build(LMUForSequenceClassification, pooling=pooling, num_labels=3, **CONFIGS[name]), draw()
    batch, labels = flatten(sequences), torch.arange(len(sequences)) % 3
    packed = model(batch["input_ids"], position_ids=batch["position_ids"], labels=labels)
    logits = torch.cat([model(sequence[None]).logits for sequence in sequences])
    assert near(packed.logits, logits, 1e-12)
    want = cross_entropy(logits, labels)
    assert near(packed.loss, want, 1e-12)
    for a, b in zip(gradients(model, packed.loss), gradients(model, want), strict=True):
        assert near(a, b, 1e-10)
    with pytest.raises(ValueError, match="3 rows for a batch of 7"):
        model(batch["input_ids"], position_ids=batch["position_ids"], labels=labels[:3])


@pytest.mark.parametrize(
    "changes",
    [
        {"pooling": "last"},
        {"pooling": "mean"},
        {"pooling": "mean_max"},
        {"pooling": "mean_max", "alignment": {"size": 3}},
    ],
    ids=str,
)
def test_every_packed_pair_has_its_class(changes):
    model, sequences = build(LMUForSequencePairClassification, **changes, num_labels=2), draw((5, 2, 40, 33))
    batch, labels = flatten(sequences), torch.tensor([0, 1, 1, 0])
    types = [(torch.arange(len(sequence)) >= len(sequence) // 2).long() for sequence in sequences]
    told = {"token_type_ids": torch.cat(types)[None], "position_ids": batch["position_ids"]}
    packed = model(batch["input_ids"], **told, labels=labels)
    each = [model(ids[None], token_type_ids=t[None]).logits for ids, t in zip(sequences, types, strict=True)]
    assert near(packed.logits, torch.cat(each), 1e-12)
    assert near(packed.loss, cross_entropy(torch.cat(each), labels), 1e-12)
    with pytest.raises(ValueError, match="nothing is left of packed sequence 0"):
        model(
            batch["input_ids"],
            token_type_ids=torch.ones_like(told["token_type_ids"]),
            position_ids=told["position_ids"],
        )
    with pytest.raises(ValueError, match="pair_input_ids"):
        model(batch["input_ids"], pair_input_ids=batch["input_ids"], position_ids=told["position_ids"])


def test_every_packed_series_is_predicted():
    model = build(LMUForTimeSeriesPrediction, input_size=2)
    x, positions = noise(1, 30, 2), torch.cat([torch.arange(12), torch.arange(18)])[None]
    out = model(x, position_ids=positions, labels=x[..., 0])
    each = torch.cat([model(part).predictions for part in x.split((12, 18), dim=1)], dim=1)
    assert near(out.predictions, each, 1e-12)
    assert near(out.loss, (each[..., 0] - x[..., 0]).square().mean(), 1e-6)  # a loss in float32


# --------------------------------------------------------------------------- in the company of others


def test_checkpointed_blocks_learn_the_same_from_packed_rows():
    model, batch = build(LMUForCausalLM).train(), flatten(draw())
    want = gradients(model, token_losses(model, model(**batch).logits, batch["labels"]))
    model.gradient_checkpointing_enable({"use_reentrant": False})
    got = gradients(model, token_losses(model, model(**batch).logits, batch["labels"]))
    for a, b in zip(got, want, strict=True):
        assert near(a, b, 1e-13)


@pytest.mark.slow
def test_a_compiled_model_reads_packed_rows_of_any_layout():
    model = build(LMUForCausalLM, num_hidden_layers=1)
    compiled = torch.compile(model)
    for lengths in (LENGTHS, (30, 40), (80,)):
        batch = flatten(draw(lengths))
        assert near(compiled(**batch).logits, model(**batch).logits, 1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_packed_rows_work_in_half_precision(dtype):
    model, sequences = build(LMUForCausalLM).to(dtype).eval(), draw()
    packed = model(**flatten(sequences)).logits
    each = torch.cat([model(sequence[None]).logits for sequence in sequences], dim=1)
    assert packed.dtype == dtype
    assert ((packed - each).float().abs() <= 8 * torch.finfo(dtype).eps * each.float().abs().max()).all()


@pytest.mark.slow
def test_the_trainer_runs_on_flattened_batches(tmp_path):
    model, sequences = build(LMUForCausalLM).float(), draw()
    rows = [{"input_ids": sequence.tolist()} for sequence in sequences if len(sequence) > 1]
    settings = TrainingArguments(str(tmp_path), per_device_eval_batch_size=len(rows), max_steps=2, use_cpu=True)
    flat = DataCollatorWithFlattening(return_flash_attn_kwargs=True)
    trainer = Trainer(model, settings, data_collator=flat, train_dataset=rows, eval_dataset=rows)
    with torch.no_grad():
        each = [token_losses(model, model(ids[None]).logits, ids[None]) for ids in sequences if len(ids) > 1]
        want = sum(each) / sum(len(row["input_ids"]) - 1 for row in rows)
    before = trainer.evaluate()["eval_loss"]
    assert abs(before - float(want)) < 1e-4
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < before


# --------------------------------------------------------------------------- complaints

ROW = torch.zeros(1, 6, dtype=torch.int64)
WRONG = [
    ({"position_ids": torch.tensor([[2, 3, 4, 0, 1, 2]])}, r"position_ids\[0, 0\] is 2"),
    ({"position_ids": torch.tensor([[2, 3, 4, 5, 6, 7]])}, r"must begin at 0.*\[0, 0\] is 2"),
    ({"position_ids": torch.tensor([[0, 1, 5, 0, 1, 2]])}, r"position_ids\[0, 2\] is 5 after 1"),
    (
        {"position_ids": torch.arange(5)[None]},
        r"position_ids must be integers \(batch, time\) = \(1, 6\), got .*\(1, 5\)",
    ),
    ({"position_ids": torch.arange(6)}, r"\(1, 6\), got torch.int64 \(6,\)"),
    ({"position_ids": torch.arange(6.0)[None]}, r"\(1, 6\), got torch.float32"),
    ({"cu_seq_lens_q": torch.tensor([0, 2, 5])}, r"cu_seq_lens_q \(sequences \+ 1,\) .* 6 steps, got \[0, 2, 5\]"),
    ({"cu_seq_lens_q": torch.tensor([1, 2, 6])}, r"from 0 to the 6 steps, got \[1, 2, 6\]"),
    ({"cu_seq_lens_q": torch.tensor([0, 3, 3, 6])}, r"must rise .* got \[0, 3, 3, 6\]"),
    ({"cu_seq_lens_q": torch.tensor([[0, 3, 6]])}, r"integers \(sequences \+ 1,\), got torch.int64 \(1, 3\)"),
    ({"seq_idx": torch.zeros(1, 7, dtype=torch.int32)}, r"seq_idx must be integers \(batch, time\) = \(1, 6\)"),
    ({"position_ids": torch.tensor([[0, 1, 2, 0, 1, 2]]), "seq_idx": ROW}, r"position_ids and seq_idx .*\[0, 3\]"),
    (
        {"position_ids": torch.tensor([[0, 1, 2, 0, 1, 2]]), "attention_mask": torch.tensor([[1, 1, 1, 1, 1, 0]])},
        r"attention_mask masks 1 of 6 steps and position_ids packs",
    ),
    ({"cu_seq_lens_q": torch.tensor([0, 2, 6]), "use_cache": True}, "use_cache=False, got True"),
]


@pytest.mark.parametrize("inputs, message", WRONG, ids=[message for _, message in WRONG])
@pytest.mark.parametrize("model_class", [LMUModel, LMUForCausalLM, LMUForSequenceClassification])
def test_inconsistent_packing_is_refused_by_name(model_class, inputs, message):
    with pytest.raises(ValueError, match=message):
        build(model_class)(ROW, **inputs)


def test_a_packed_row_takes_no_cache_no_mask_and_no_batch():
    model = build(LMUForCausalLM).eval()
    past = model(ROW).past_key_values
    assert isinstance(past, DynamicCache)
    with pytest.raises(ValueError, match=r"leave cache .past_key_values. out"):
        model(ROW, past_key_values=past, position_ids=torch.tensor([[6, 7, 8, 0, 1, 2]]) * 0)
    with pytest.raises(ValueError, match="leave attention_mask out"):
        model.model(ROW, ROW, layout=Packed((3, 3)))
    with pytest.raises(ValueError, match="got a batch of 2"):
        model(ROW.expand(2, -1), cu_seq_lens_q=torch.tensor([0, 12]))


def test_a_mask_without_masked_steps_may_stand_beside_packing():
    model, batch = build(LMUForCausalLM), flatten(draw())
    mask = torch.ones_like(batch["input_ids"])
    assert torch.equal(model(**batch, attention_mask=mask).logits, model(**batch).logits)


@pytest.mark.parametrize("name", ["position_ids", "cu_seq_lens_q", "seq_idx"])
def test_models_of_one_sequence_a_row_refuse_packed_ones(name):
    packed = {name: torch.zeros(1, 4, dtype=torch.long)}
    ids = torch.ones(1, 4, dtype=torch.long)
    fields = {"hidden_size": 8, "num_hidden_layers": 1, "order": 2, "theta": 4}
    translator = LMUForConditionalGeneration(LMUConfig(vocab_size=9, is_encoder_decoder=True, **fields))
    classifier = LMUForImageClassification(LMUConfig(image_size=2, input_size=1, **fields))
    for model, inputs in [
        (translator, {"input_ids": ids, "labels": ids}),
        (translator.model, {"input_ids": ids, "decoder_input_ids": ids}),
        (classifier, {"pixel_values": torch.rand(1, 1, 2, 2)}),
    ]:
        with pytest.raises(ValueError, match=f"{name} describes sequences packed in a row"):
            model(**inputs, **packed)
