"""Classifiers of pairs: how two sequences are told, what is read of each, and their steps side by side."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lmu_hf import LMUForSequencePairClassification
from lmu_hf.alignment import Alignment
from lmu_hf.configuration_lmu import PAIR_FEATURES
from tiny_heads import FEW, IDS, POOLINGS, build, draw, in_one_row, masks
from tiny_stacks import assert_near, draw_ids

ALIGNED = {"pooling": "mean_max", "alignment": {"size": 3}}
OF_PAIRS = POOLINGS | {"aligned": ALIGNED, "aligned both ways": ALIGNED | {"bidirectional": True}}


@pytest.mark.parametrize("changes", OF_PAIRS.values(), ids=OF_PAIRS)
@FEW
@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 5))
def test_a_pair_in_one_row_or_in_two_is_the_same(changes, n1, n2, seed):
    model = build(LMUForSequencePairClassification, **changes)
    first, second = draw_ids(2, n1, seed=seed), draw_ids(2, n2, seed=seed + 1)
    assert_near(model(**in_one_row(first, second)).logits, model(first, pair_input_ids=second).logits)


@pytest.mark.parametrize("changes", [{}, ALIGNED], ids=["memories", "aligned"])
@FEW
@given(masks(), st.integers(0, 9))
def test_a_padded_row_of_two_is_the_pair_without_padding(changes, mask, seed):
    model = build(LMUForSequencePairClassification, **changes)
    ids, types = draw_ids(*mask.shape, seed=seed), (torch.arange(mask.shape[1]) % 2).repeat(mask.shape[0], 1)
    ends = {"attention_mask": torch.cat([mask, torch.ones(len(mask), 2, dtype=torch.bool)], 1)}
    ids, types = torch.cat([ids, ids[:, :1], ids[:, :1]], 1), torch.cat([types, types[:, :1], types[:, :1] + 1], 1)
    logits = model(ids, token_type_ids=types, **ends).logits
    for row, real in enumerate(ends["attention_mask"]):
        parts = [ids[row, real & (types[row] == kind)][None] for kind in (0, 1)]
        assert_near(logits[row], model(parts[0], pair_input_ids=parts[1]).logits[0])


def test_aligned_steps_are_compared_with_their_counterparts_before_they_are_pooled():
    model = build(LMUForSequencePairClassification, **ALIGNED)
    first, second = draw_ids(2, 5), draw_ids(2, 7, seed=1)
    x, y = (model.model(ids).last_hidden_state for ids in (first, second))
    weight, bias = model.alignment.comparison.weight, model.alignment.comparison.bias

    def compared(these: Tensor, those: Tensor) -> Tensor:
        rows = []
        for step in these:
            cosines = [step @ other / (step.norm() * other.norm()) for other in those]
            found = (model.alignment.sharpness * torch.stack(cosines)).softmax(0) @ those
            read = torch.cat([step, found, (step - found).abs(), step * found])
            rows.append(torch.nn.functional.gelu(weight @ read + bias))
        return torch.cat([torch.stack(rows).mean(0), torch.stack(rows).amax(0)])

    m1 = torch.stack([compared(*pair) for pair in zip(x, y, strict=True)])
    m2 = torch.stack([compared(*pair) for pair in zip(y, x, strict=True)])
    expected = model.classifier(torch.cat([m1, m2, (m1 - m2).abs(), m1 * m2], -1))
    assert_near(model(first, pair_input_ids=second).logits, expected)


def test_masked_steps_are_no_counterparts_in_the_other_sequence():
    model = build(LMUForSequencePairClassification, **ALIGNED)
    first, second = draw_ids(1, 5), draw_ids(1, 7, seed=1)
    expected = model(first, pair_input_ids=second).logits
    masks = torch.tensor([[0, 1, 1, 1, 1, 1, 0]]), torch.tensor([[1, 0, 1, 1, 1, 1, 1, 1]])
    first = torch.cat([first[:, :1], first, first[:, :1]], 1)
    second = torch.cat([second[:, :1], second[:, :1], second[:, 1:]], 1)
    masked = model(first, attention_mask=masks[0], pair_input_ids=second, pair_attention_mask=masks[1])
    assert_near(masked.logits, expected)
    with pytest.raises(ValueError, match="no real step in row 0"):
        model(first, pair_input_ids=second, pair_attention_mask=masks[1] * 0)


def test_every_parameter_of_an_alignment_has_a_gradient():
    model = build(LMUForSequencePairClassification, **ALIGNED).train()
    model(draw_ids(2, 5), pair_input_ids=draw_ids(2, 7, seed=1), labels=torch.tensor([0, 1])).loss.backward()
    assert all(bool(parameter.grad.any()) for parameter in model.parameters())


def test_a_step_of_zeros_has_no_counterpart_of_its_own_and_a_finite_gradient():
    alignment = Alignment(4, 3, "gelu").double()
    x, others = draw(1, 5, 4), draw(1, 6, 4)
    x[0, 2] = 0
    x.requires_grad_()
    gradient = torch.autograd.grad(alignment(x, others).sum(), x)[0][0]
    assert float(gradient[2].norm()) < 1e3 * float(gradient[[0, 1, 3, 4]].norm())
    found = torch.cat([x[0, 2], others[0].mean(0), others[0].mean(0).abs(), x[0, 2]])
    assert_near(alignment(x, others)[0, 2], torch.nn.functional.gelu(alignment.comparison(found)))


@pytest.mark.parametrize("features", [list(PAIR_FEATURES), ["product", "first"], ["difference"]], ids=str)
def test_features_stand_in_the_order_of_the_config(features):
    model = build(LMUForSequencePairClassification, pair_features=features)
    first, second = draw_ids(2, 5), draw_ids(2, 7, seed=1)
    (m1, _), (m2, _) = model.pool(input_ids=first), model.pool(input_ids=second)
    parts = {"first": m1, "second": m2, "difference": (m1 - m2).abs(), "product": m1 * m2}
    expected = model.classifier(torch.cat([parts[name] for name in features], -1))
    assert_near(model(first, pair_input_ids=second).logits, expected)


def test_swapping_a_pair_changes_only_asymmetric_features():
    first, second = draw_ids(2, 5), draw_ids(2, 7, seed=1)
    symmetric = build(LMUForSequencePairClassification, pair_features=["difference", "product"])
    assert_near(symmetric(first, pair_input_ids=second).logits, symmetric(second, pair_input_ids=first).logits)
    whole = build(LMUForSequencePairClassification)
    there, back = whole(first, pair_input_ids=second).logits, whole(second, pair_input_ids=first).logits
    assert not torch.allclose(there, back)


def test_a_pair_may_be_given_as_embeddings_in_one_row():
    model, row = build(LMUForSequencePairClassification), in_one_row(draw_ids(2, 5), draw_ids(2, 7, seed=1))
    embeds = model.get_input_embeddings()(row["input_ids"])
    assert_near(model(inputs_embeds=embeds, token_type_ids=row["token_type_ids"]).logits, model(**row).logits)


TYPES = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, 1, 1]])
WRONG_PAIRS = [
    ({"input_ids": IDS}, "exactly one of token_type_ids .* and pair_input_ids"),
    ({"input_ids": IDS, "token_type_ids": TYPES, "pair_input_ids": IDS}, "exactly one of token_type_ids"),
    ({"input_ids": IDS, "token_type_ids": TYPES[:, :4]}, r"token_type_ids must be .*\(2, 5\), got \(2, 4\)"),
    ({"token_type_ids": TYPES}, r"token_type_ids must be .*None, got \(2, 5\)"),
    ({"input_ids": IDS, "token_type_ids": TYPES * 0}, "no real step in row 0"),
    ({"pair_input_ids": IDS}, "exactly one of input_ids, inputs_embeds, input_values must be given, got none"),
]


@pytest.mark.parametrize(("inputs", "words"), WRONG_PAIRS, ids=[case[1] for case in WRONG_PAIRS])
def test_a_wrong_pair_is_refused_by_name(inputs, words):
    with pytest.raises(ValueError, match=words):
        build(LMUForSequencePairClassification)(**inputs)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"input_ids": IDS, "token_type_ids": TYPES, "attention_mask": torch.ones(2, 4)}, "attention_mask"),
        ({"input_ids": IDS, "pair_input_ids": IDS[:1]}, "pair_input_ids"),
        ({"input_ids": IDS, "token_type_ids": torch.tensor([[0, 0, 1, 2, 2]] * 2)}, "token_type_ids"),
    ],
    ids=["mask", "rows", "third sequence"],
)
def test_a_pair_that_does_not_fit_is_refused_by_name(inputs, words):
    with pytest.raises(ValueError, match=words):
        build(LMUForSequencePairClassification, pair_features=["difference"])(**inputs)
