"""What a stack of memories is asked: the paper's set-ups, pooling, losses, images and forecasts."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss
from torch.testing import assert_close

from lmu_hf import (
    LMUConfig,
    LMUForImageClassification,
    LMUForSequenceClassification,
    LMUForSequencePairClassification,
    LMUForTimeSeriesPrediction,
)
from lmu_hf.configuration_lmu import CHOICES
from tiny_heads import FEW, IDS, LABELS, POOLINGS, SERIES, SMALL_IMAGE, build, draw, masks, tiny
from tiny_stacks import WIDTH, assert_near, draw_ids

ARCHITECTURES = {
    f"{pooling}, {block}{', deep' * deep}": {**changes, "block_type": block, "deep_representations": deep}
    for pooling, changes in POOLINGS.items()
    for block, deep in (("lmu", False), ("highway", True), ("residual", False), ("residual", True))
}


def trainable(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


# --------------------------------------------------------------------------- the paper's set-ups, one config each


PSMNIST = {
    **{"input_size": 1, "hidden_size": 346, "num_hidden_layers": 1, "order": 468, "theta": 784, "memory_channels": 1},
    **{"block_type": "lmu", "hidden_act": "relu", "num_labels": 10},
    **{"image_size": 28, "permutation_seed": 0, "classifier_dropout": 0.5},
}
WORD_VECTORS = {
    **{"vocab_size": 1000, "embedding_size": 300, "hidden_size": 300, "num_hidden_layers": 1, "order": 1, "theta": 400},
    **{"block_type": "lmu", "encoder": "identity", "readout": "memory", "basis": "legendre"},
}


def test_psmnist_has_166092_parameters():
    assert trainable(LMUForImageClassification(LMUConfig(**PSMNIST))) == 166_092


def test_psmnist_without_the_input_readout_has_the_papers_165k():
    model = LMUForImageClassification(LMUConfig(**PSMNIST))
    assert trainable(model) - model.model.layers[0].memory.input_readout.weight.numel() == 165_746


@pytest.mark.parametrize(
    ("kind", "labels", "count"),
    [
        (LMUForSequenceClassification, 1, 301),
        (LMUForSequencePairClassification, 1, 1201),
        (LMUForSequencePairClassification, 3, 3603),
    ],
    ids=["IMDB", "QQP", "SNLI"],
)
def test_classifiers_over_frozen_word_vectors_have_the_papers_sizes(kind, labels, count):
    model = kind(LMUConfig(**WORD_VECTORS, num_labels=labels))
    assert trainable(model.classifier) == count
    assert trainable(model) == count + 1000 * 300
    model.get_input_embeddings().requires_grad_(False)
    assert trainable(model) == count


def test_the_imdb_memory_is_the_decaying_mean_of_the_word_vectors():
    model = build(LMUForSequenceClassification, **{**WORD_VECTORS, "embedding_size": 6, "hidden_size": 6})
    ids = draw_ids(1, 50)
    decay = torch.exp(torch.tensor(-1 / 400, dtype=torch.float64))
    weights = (1 - decay) * decay ** torch.arange(49, -1, -1)
    expected = model.classifier((weights[:, None] * model.get_input_embeddings()(ids[0])).sum(0))
    assert_close(model(ids).logits[0], expected, rtol=0, atol=1e-12)


def test_mackey_glass_has_about_18_thousand_parameters():
    fields = {"input_size": 1, "hidden_size": 140, "num_hidden_layers": 1, "order": 40, "theta": 50}
    fields |= {"memory_channels": 1, "block_type": "lmu", "head_hidden_size": 80}
    model = LMUForTimeSeriesPrediction(LMUConfig(**fields))
    encoder, readout, head = 1 + 1, 40 * 140 + 140 + 140, 140 * 80 + 80 + 80 + 1
    assert trainable(model) == encoder + readout + head == 17_243 < 18_300


# --------------------------------------------------------------------------- pooling under masks


@pytest.mark.parametrize("changes", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_logits_do_not_depend_on_masked_steps(changes):
    model = build(LMUForSequenceClassification, **changes)

    @FEW
    @given(masks(), st.sampled_from([0, -100, 11, 2**62]), st.integers(0, 9))
    def check(mask, junk, seed):
        ids = draw_ids(*mask.shape, seed=seed)
        logits = model(ids.masked_fill(~mask, junk), attention_mask=mask.long()).logits
        for row, real in enumerate(mask):
            assert_near(logits[row], model(ids[row : row + 1, real]).logits[0])

    check()


@pytest.mark.parametrize("changes", ARCHITECTURES.values(), ids=ARCHITECTURES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_does_not_move_float32_logits(changes, side):
    model, ids = build(LMUForSequenceClassification, torch.float32, **changes), draw_ids(3, 70)
    lengths, t = torch.tensor([5, 41, 70])[:, None], torch.arange(70)
    mask = t < lengths if side == "right" else t >= 70 - lengths
    logits = model(ids.masked_fill(~mask, -100), attention_mask=mask).logits
    for row, real in enumerate(mask):
        assert_near(logits[row], model(ids[row : row + 1, real]).logits[0])


@pytest.mark.parametrize("pooling", CHOICES["pooling"])
def test_each_pooling_equals_its_definition(pooling):
    model, ids = build(LMUForSequenceClassification, pooling=pooling), draw_ids(2, 9)
    hidden = model.model(ids).last_hidden_state
    one = {
        "last": hidden[:, -1],
        "mean": hidden.mean(1),
        "max": hidden.amax(1),
        "share": (hidden > 0).to(hidden).mean(1),
    }
    summary = torch.cat([one[word] for word in pooling.split("_")], dim=-1)
    assert_near(model(ids).logits, model.classifier(summary))


def test_the_paddings_side_does_not_matter():
    model, ids = build(LMUForSequenceClassification), draw_ids(1, 5)
    nothing = torch.zeros(1, 4, dtype=torch.int64)
    ones = torch.ones_like(ids)
    left = model(torch.cat([nothing, ids], 1), attention_mask=torch.cat([nothing, ones], 1)).logits
    right = model(torch.cat([ids, nothing], 1), attention_mask=torch.cat([ones, nothing], 1)).logits
    assert_near(left, right)


@FEW
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 9))
def test_a_stream_is_classified_chunk_by_chunk(pieces, seed):
    model, ids = build(LMUForSequenceClassification), draw_ids(2, sum(pieces), seed=seed)
    past = None
    for piece in ids.split(pieces, dim=1):
        output = model(piece, past_key_values=past, use_cache=True)
        past = output.past_key_values
    assert_near(output.logits, model(ids).logits)


def test_a_classifier_keeps_no_memory_unless_asked():
    model = build(LMUForSequenceClassification)
    assert model(draw_ids(2, 5)).past_key_values is None
    assert model(draw_ids(2, 5), use_cache=True).past_key_values is not None


@pytest.mark.parametrize("pooling", CHOICES["pooling"][1:])
def test_a_stream_is_pooled_by_its_last_step_or_refused(pooling):
    model, ids = build(LMUForSequenceClassification, pooling=pooling), draw_ids(2, 10)
    past = model(ids[:, :5], use_cache=True).past_key_values
    with pytest.raises(ValueError, match="pooling"):
        model(ids[:, 5:], past_key_values=past)


def test_a_chunk_without_a_real_step_is_refused():
    model, ids = build(LMUForSequenceClassification), draw_ids(2, 10)
    past = model(ids[:, :5], use_cache=True).past_key_values
    mask = torch.ones(2, 10, dtype=torch.int64)
    mask[0, 5:] = 0
    with pytest.raises(ValueError, match="no real step in row 0"):
        model(ids[:, 5:], attention_mask=mask, past_key_values=past)


@pytest.mark.parametrize("n", [1, pytest.param(20_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("pooling", CHOICES["pooling"])
def test_sequences_of_one_step_and_of_twenty_thousand_are_classified(n, pooling):
    model = build(LMUForSequenceClassification, torch.float32, pooling=pooling, theta=3000, order=8)
    with torch.no_grad():
        assert model(draw_ids(2, n)).logits.isfinite().all()


def test_a_head_has_the_parameters_of_its_layers():
    linear, hidden = LMUForSequenceClassification(tiny()), LMUForSequenceClassification(tiny(head_hidden_size=5))
    assert trainable(linear.classifier) == WIDTH * LABELS + LABELS
    assert trainable(hidden.classifier) == WIDTH * 5 + 5 + 5 * LABELS + LABELS


# --------------------------------------------------------------------------- losses


LOSSES = [
    # The problem, whether the config names it or it is found from the labels, the labels, and torch's own loss.
    ("regression", True, draw(2), lambda logits, labels: mse_loss(logits.squeeze(), labels)),
    ("regression", False, draw(2), lambda logits, labels: mse_loss(logits.squeeze(), labels)),
    ("regression", True, draw(2, 3), mse_loss),
    ("single_label_classification", True, torch.tensor([0, 2]), cross_entropy),
    ("single_label_classification", False, torch.tensor([0, 2]), cross_entropy),
    ("single_label_classification", False, torch.tensor([1, -100]), cross_entropy),
    ("multi_label_classification", True, draw(2, 3).gt(0).double(), binary_cross_entropy_with_logits),
    ("multi_label_classification", False, draw(2, 3).gt(0).double(), binary_cross_entropy_with_logits),
]


@pytest.mark.parametrize(("problem", "told", "labels", "loss"), LOSSES)
def test_losses_are_torchs_own(problem, told, labels, loss):
    outputs = 1 if problem == "regression" and labels.ndim == 1 else 3
    model = build(LMUForSequenceClassification, num_labels=outputs, problem_type=problem if told else None)
    output = model(draw_ids(2, 7), labels=labels)
    assert_near(output.loss, loss(output.logits, labels))
    assert model.config.problem_type == problem


@pytest.mark.parametrize("kind", [LMUForSequenceClassification, LMUForSequencePairClassification])
def test_every_classifier_has_a_loss_with_gradients(kind):
    model = build(kind)
    pair = {"token_type_ids": torch.arange(8).repeat(2, 1) // 4} if kind is LMUForSequencePairClassification else {}
    output = model(draw_ids(2, 8), labels=torch.tensor([0, 2]), **pair)
    assert_near(output.loss, cross_entropy(output.logits, torch.tensor([0, 2])))
    output.loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


WRONG_LABELS = [
    (torch.tensor([0, 3]), ValueError, r"labels hold 3, outside 0 … 2 \(num_labels\)"),
    (torch.tensor([-1, 1]), ValueError, r"labels hold -1, outside 0 … 2 \(num_labels\)"),
    (torch.tensor([0, 1, 2]), ValueError, "labels hold 3 rows for a batch of 2"),
]
UNCLEAR_LABELS = [
    ("scalar", torch.tensor(1), "labels"),
    ("out of range in a column", torch.tensor([[0], [7]]), "labels hold 7"),
    ("negative beside an ignored one", torch.tensor([-100, -5]), "labels hold -5"),
    ("int32", torch.tensor([0, 1], dtype=torch.int32), "labels"),
    ("one-hot integers", torch.eye(3, dtype=torch.int64)[:2], "labels"),
    ("too many columns", torch.rand(2, 4), "labels"),
    ("float classes", torch.tensor([0.0, 1.0]), "labels"),
]


@pytest.mark.parametrize(("labels", "error", "words"), WRONG_LABELS, ids=[case[2] for case in WRONG_LABELS])
def test_labels_out_of_range_are_refused_by_name(labels, error, words):
    with pytest.raises(error, match=words):
        build(LMUForSequenceClassification)(draw_ids(2, 5), labels=labels)


@pytest.mark.parametrize(("name", "labels", "words"), UNCLEAR_LABELS, ids=[case[0] for case in UNCLEAR_LABELS])
def test_labels_of_a_wrong_shape_or_dtype_are_refused_by_name(name, labels, words):
    with pytest.raises((ValueError, TypeError), match=words):
        build(LMUForSequenceClassification, torch.float32)(draw_ids(2, 5), labels=labels)


REFUSED = [
    ({}, "exactly one of input_ids, inputs_embeds, input_values must be given, got none"),
    ({"input_ids": IDS, "inputs_embeds": torch.ones(2, 5, 6)}, "got input_ids and inputs_embeds"),
    ({"input_ids": IDS[:0]}, r"input_ids must hold at least one sequence.*\(0, 5\)"),
    ({"input_ids": IDS[:, :0]}, r"input_ids must hold .* at least one step, got \(2, 0\)"),
    ({"input_ids": IDS, "attention_mask": torch.tensor([[1] * 5, [0] * 5])}, "no real step in row 1"),
    (
        {"input_ids": IDS, "attention_mask": torch.ones(2, 4)},
        r"attention_mask must be .*\(2, 5\), got \(2, 4\)",
    ),
    ({"input_ids": IDS + 11}, "input_ids holds 21, outside 0 … 10"),
]


@pytest.mark.parametrize(("inputs", "words"), REFUSED, ids=[case[1] for case in REFUSED])
def test_an_error_names_what_was_wrong(inputs, words):
    with pytest.raises(ValueError, match=words):
        build(LMUForSequenceClassification)(**inputs)


def test_a_flat_mask_is_refused_by_name():
    with pytest.raises(ValueError, match="attention_mask"):
        build(LMUForSequenceClassification)(IDS, attention_mask=torch.ones(5))


# --------------------------------------------------------------------------- what comes out


@pytest.mark.parametrize(
    "by_config",
    [
        False,
        True,
    ],
)
def test_outputs_may_be_tuples(by_config):
    model = build(LMUForSequenceClassification)
    expected = model(IDS, labels=torch.tensor([0, 1])).to_tuple()
    model.config.return_dict = not by_config
    actual = model(IDS, labels=torch.tensor([0, 1]), **({} if by_config else {"return_dict": False}))
    assert type(actual) is tuple
    assert all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_hidden_states_come_with_logits(pooling):
    model = build(LMUForSequenceClassification, pooling=pooling)
    states = model(IDS, output_hidden_states=True).hidden_states
    assert [tuple(state.shape) for state in states[:-1]] == [(2, 5, WIDTH)] * 2
    assert tuple(states[-1].shape) == (2, 1 if pooling == "last" else 5, WIDTH)


@pytest.mark.parametrize("changes", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_checkpointing_leaves_the_gradients_of_a_classifier_alone(changes):
    model = build(LMUForSequenceClassification, **changes).train()
    mask = torch.tensor([[0, 1, 1, 0, 1], [1, 1, 1, 1, 1]])

    def gradients() -> list[Tensor]:
        model.zero_grad()
        model(IDS, attention_mask=mask, labels=torch.tensor([0, 1])).loss.backward()
        # A share of steps is a count: no gradient goes further.
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]

    expected = gradients()
    assert len(expected) == len(list(model.parameters())) or "share" in changes.get("pooling", "")
    model.gradient_checkpointing_enable()
    assert all(torch.equal(a, b) for a, b in zip(gradients(), expected, strict=True))


# --------------------------------------------------------------------------- images


def test_raster_order_reads_rows_from_the_top_left():
    model = build(LMUForImageClassification, **SMALL_IMAGE)
    assert torch.equal(model.pixel_sequence(torch.arange(16.0).view(1, 1, 4, 4))[0, :, 0], torch.arange(16.0))


def test_permuted_order_is_one_shuffle_of_the_raster():
    raster = build(LMUForImageClassification, **SMALL_IMAGE)
    permuted = build(LMUForImageClassification, **SMALL_IMAGE, permutation_seed=0)
    sequence = permuted.pixel_sequence(torch.arange(16.0).view(1, 1, 4, 4))[0, :, 0]
    assert torch.equal(sequence, permuted.permutation.float())
    assert torch.equal(sequence.sort().values, torch.arange(16.0))
    images, shuffled = draw(2, 1, 4, 4), torch.empty(2, 1, 16, dtype=torch.float64)
    assert not torch.allclose(raster(images).logits, permuted(images).logits)
    shuffled = images.flatten(2)[..., permuted.permutation].view(2, 1, 4, 4)
    assert_near(raster(shuffled).logits, permuted(images).logits)


def test_the_seed_draws_the_permutation():
    def permutation(seed: int) -> Tensor:
        return LMUForImageClassification(tiny(**SMALL_IMAGE, permutation_seed=seed)).permutation

    assert torch.equal(permutation(3), permutation(3))
    assert not torch.equal(permutation(3), permutation(4))


def test_a_stored_permutation_wins_over_the_seed(tmp_path):
    model = build(LMUForImageClassification, torch.float32, **SMALL_IMAGE, permutation_seed=0)
    model.permutation.copy_(torch.arange(15, -1, -1))
    model.save_pretrained(tmp_path)
    back = LMUForImageClassification.from_pretrained(tmp_path, permutation_seed=9)
    assert torch.equal(back.permutation, torch.arange(15, -1, -1))
    images = draw(2, 1, 4, 4, dtype=torch.float32)
    assert torch.equal(back(images).logits, model(images).logits)


def test_a_missing_permutation_is_drawn_again(tmp_path):
    model = build(LMUForImageClassification, torch.float32, **SMALL_IMAGE, permutation_seed=0)
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    drawn = tensors.pop("permutation")
    save_file(tensors, tmp_path / "model.safetensors")
    assert torch.equal(LMUForImageClassification.from_pretrained(tmp_path).permutation, drawn)


def test_a_cast_does_not_change_the_permutation():
    model = build(LMUForImageClassification, **SMALL_IMAGE, permutation_seed=0)
    before = model.permutation.clone()
    assert torch.equal(model.half().permutation, before)


def test_three_equal_channels_are_one_grey_channel():
    model, grey = build(LMUForImageClassification, **SMALL_IMAGE), draw(2, 1, 4, 4)
    assert_near(model(grey.expand(2, 3, 4, 4)).logits, model(grey).logits)


def test_colour_is_read_as_three_numbers_a_pixel():
    model, images = build(LMUForImageClassification, input_size=3, image_size=4), draw(2, 3, 4, 4)
    assert torch.equal(model.pixel_sequence(images)[0, 5], images[0, :, 1, 1])
    assert model(images, labels=torch.tensor([0, 2])).loss.isfinite()


WRONG_IMAGES = [
    ({}, r"pixel_values \(batch, channels, height, width\) must be given"),
    ({"pixel_values": torch.ones(2, 4, 4)}, r"pixel_values must be .*got \(2, 4, 4\)"),
    ({"pixel_values": torch.ones(2, 1, 5, 4)}, r"pixel_values must be \(batch, channels, 4, 4\), got \(2, 1, 5, 4\)"),
    ({"pixel_values": torch.ones(2, 4, 4, 4)}, "input_size=1 channels, got 4"),
    ({"pixel_values": torch.ones(0, 1, 4, 4)}, "at least one"),
    ({"pixel_values": torch.ones(2, 1, 4, 4), "labels": torch.tensor([0, 3])}, "labels hold 3, outside 0 … 2"),
]


@pytest.mark.parametrize(("inputs", "words"), WRONG_IMAGES, ids=[case[1] for case in WRONG_IMAGES])
def test_a_wrong_image_is_refused_by_name(inputs, words):
    with pytest.raises(ValueError, match=words):
        build(LMUForImageClassification, torch.float32, **SMALL_IMAGE)(**inputs)


@pytest.mark.parametrize("channels", [1, 3])
def test_bytes_are_refused_by_name(channels):
    with pytest.raises(TypeError, match="pixel_values"):
        build(LMUForImageClassification, **SMALL_IMAGE)(torch.zeros(2, channels, 4, 4, dtype=torch.uint8))


@pytest.mark.parametrize("fields", [{"input_size": 1}, {"image_size": 4}], ids=str)
def test_an_image_classifier_without_an_image_is_refused(fields):
    with pytest.raises(ValueError, match="needs image_size, and input_size"):
        LMUForImageClassification(tiny(**fields))


# --------------------------------------------------------------------------- forecasts


def test_a_forecast_is_a_linear_reading_of_every_step():
    model, series = build(LMUForTimeSeriesPrediction, **SERIES), draw(2, 9, 2)
    assert_near(model(series).predictions, model.head(model.model(input_values=series).last_hidden_state))


@FEW
@given(masks(), st.sampled_from([0.0, 1e6]))
def test_masked_steps_do_not_count_in_the_loss(mask, junk):
    model, (b, n) = build(LMUForTimeSeriesPrediction, **SERIES), mask.shape
    series, labels = draw(b, n, 2), draw(b, n, 2).flip(1)
    dirty = [x.masked_fill(~mask[..., None], junk) for x in (series, labels)]
    output = model(dirty[0], attention_mask=mask, labels=dirty[1])
    assert_near(output.loss, mse_loss(output.predictions[mask], labels[mask]))
    for row, real in enumerate(mask):
        assert_near(output.predictions[row, real], model(series[row : row + 1, real]).predictions[0])


def test_an_unmasked_loss_is_torchs_own():
    model, series = build(LMUForTimeSeriesPrediction, input_size=1), draw(2, 9)
    output = model(series, labels=series)
    assert_near(output.loss, mse_loss(output.predictions[..., 0], series))


def test_missing_labels_under_the_mask_may_be_nan():
    model, series = build(LMUForTimeSeriesPrediction, input_size=1), draw(1, 5)
    mask = torch.tensor([[0, 0, 1, 1, 1]])
    model(series, attention_mask=mask, labels=series.masked_fill(mask == 0, float("nan"))).loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_a_series_is_forecast_chunk_by_chunk():
    model, series = build(LMUForTimeSeriesPrediction, **SERIES), draw(2, 40, 2)
    past, steps = None, []
    for t in range(40):
        output = model(series[:, t : t + 1], past_key_values=past)
        past = output.past_key_values
        steps.append(output.predictions)
    assert_near(torch.cat(steps, 1), model(series).predictions)


TWO = torch.ones(2, 5, 2)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "must be given, got none"),
        ({"input_values": TWO, "labels": TWO[:, :4]}, r"labels must be \(2, 5, 2\), got \(2, 4, 2\)"),
        ({"input_values": TWO, "labels": TWO[..., 0]}, r"labels must be \(2, 5, 2\)"),
        ({"input_values": torch.ones(2, 5, 3)}, r"input_size=2\), got \(2, 5, 3\)"),
    ],
    ids=["none", "length", "axis", "width"],
)
def test_a_wrong_series_is_refused_by_name(inputs, words):
    with pytest.raises(ValueError, match=words):
        build(LMUForTimeSeriesPrediction, torch.float32, **SERIES)(**inputs)


def test_a_forecast_of_tokens_is_refused():
    with pytest.raises(ValueError, match="set input_size"):
        LMUForTimeSeriesPrediction(tiny())


def test_a_series_without_a_real_step_has_no_loss():
    model = build(LMUForTimeSeriesPrediction, input_size=1)
    with pytest.raises(ValueError, match="no real step"):
        model(draw(1, 5), attention_mask=torch.zeros(1, 5), labels=draw(1, 5))
