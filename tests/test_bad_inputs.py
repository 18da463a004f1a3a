"""Every head and every malformed input: a defined result, or one error of one line that names the argument."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from lmu_hf import (
    LMUForAudioClassification,
    LMUForCausalLM,
    LMUForImageClassification,
    LMUForSequenceClassification,
    LMUForSequencePairClassification,
    LMUForTimeSeriesClassification,
    LMUForTimeSeriesPrediction,
    LMUForTokenClassification,
    LMUModel,
)
from lmu_hf.frames_lmu import Frames
from tiny_heads import LABELS, SERIES, SMALL_IMAGE, build, draw, in_one_row
from tiny_stacks import draw_ids
from tiny_translators import build as build_translator
from tiny_translators import draw as draw_words

NAN, INF = float("nan"), float("inf")
IDS, MASK, CLASSES = draw_ids(2, 6), torch.ones(2, 6, dtype=torch.int64), torch.tensor([0, 1])
TEXT = {"input_ids": IDS, "attention_mask": MASK}
SIGNAL = {"input_values": draw(2, 6, 2), "attention_mask": MASK}
SOUND = {"input_size": 5, "audio": Frames(1000, bands=5, adaptation=20.0).record, "pooling": "mean"}
PAIR = in_one_row(draw_ids(2, 3), draw_ids(2, 3, seed=1))
TWO = {"pair_input_ids": draw_ids(2, 4), "pair_attention_mask": MASK[:, :4]}
# Each head, and a call that it answers.
HEADS: dict[str, tuple[Callable[[], Any], dict[str, Tensor]]] = {
    "body": (lambda: build(LMUModel), TEXT),
    "signal": (lambda: build(LMUModel, input_size=2), SIGNAL),
    "next token": (lambda: build(LMUForCausalLM), TEXT | {"labels": IDS}),
    "lstm": (lambda: build(LMUForCausalLM, model_type="lmu_lstm"), TEXT | {"labels": IDS}),
    "tags": (lambda: build(LMUForTokenClassification), TEXT | {"labels": IDS % LABELS}),
    "class": (lambda: build(LMUForSequenceClassification), TEXT | {"labels": CLASSES}),
    "pair": (lambda: build(LMUForSequencePairClassification), PAIR | {"attention_mask": MASK, "labels": CLASSES}),
    "two sequences": (lambda: build(LMUForSequencePairClassification), TEXT | TWO | {"labels": CLASSES}),
    "image": (
        lambda: build(LMUForImageClassification, **SMALL_IMAGE),
        {"pixel_values": draw(2, 1, 4, 4), "labels": CLASSES},
    ),
    "series": (
        lambda: build(LMUForTimeSeriesClassification, input_size=2),
        SIGNAL | {"observed_mask": torch.ones(2, 6, 2), "labels": CLASSES},
    ),
    "sound": (
        lambda: build(LMUForAudioClassification, **SOUND),
        {"input_values": draw(2, 6, 5), "attention_mask": MASK, "labels": CLASSES},
    ),
    "forecast": (lambda: build(LMUForTimeSeriesPrediction, **SERIES), SIGNAL | {"labels": draw(2, 6, 2)}),
    "translation": (
        build_translator,
        {"input_ids": draw_words(2, 6), "attention_mask": MASK, "labels": draw_words(2, 4)},
    ),
}
SEVERAL = ("body", "signal", "next token", "lstm", "tags", "forecast")  # heads that answer at every step


def with_value(value: float) -> Callable[[Tensor], Tensor]:
    """The last number of a tensor set to a value, in a dtype that can hold it."""

    def damage(x: Tensor) -> Tensor:
        x = x.double() if isinstance(value, float) and not x.is_floating_point() else x.clone()
        x.view(-1)[-1] = value
        return x

    return damage


SHAPES: dict[str, Callable[[Tensor], Tensor]] = {
    "no row": lambda x: x[:0],
    "no step": lambda x: x[:, :0],
    "no axis": lambda x: x.flatten()[0],
    "one axis less": lambda x: x[0],
    "one axis more": lambda x: x[None],
    "a step less": lambda x: x[:, :-1],
    "a step more": lambda x: torch.cat([x, x[:, -1:]], 1),
    "a row more": lambda x: torch.cat([x, x[-1:]]),
}
IDS_OF = {
    "negative": with_value(-1),
    "-100": with_value(-100),
    "2^40": with_value(2**40),
    "the least": with_value(-(2**63)),
    "the vocabulary's size": with_value(29),
    "float": Tensor.double,
    "half an id": with_value(0.5),
    "nan": with_value(NAN),
    "bool": Tensor.bool,
    "bytes": lambda x: x.to(torch.uint8),
    "complex": lambda x: x.to(torch.complex64),
}
MASKS = {
    "a half": with_value(0.5),
    "two": with_value(2),
    "negative": with_value(-1),
    "nan": with_value(NAN),
    "infinite": with_value(INF),
    "additive": with_value(-1e9),
}
VALUES = {"nan": with_value(NAN), "infinite": with_value(INF), "complex": lambda x: x.to(torch.complex64)}
CLASS_IDS = {
    **{name: damage for name, damage in IDS_OF.items() if name != "-100"},  # -100: nothing to learn
    "int32": Tensor.int,
}
WRONG = {
    **dict.fromkeys(("input_ids", "pair_input_ids"), IDS_OF),
    **dict.fromkeys(("attention_mask", "pair_attention_mask", "observed_mask"), MASKS),
    **dict.fromkeys(("input_values", "pixel_values"), VALUES),
    "token_type_ids": {name: IDS_OF[name] for name in ("negative", "2^40", "half an id", "nan")}
    | {"two": with_value(2)},
    "labels": CLASS_IDS,
}


def damages() -> list:
    """Every head, argument and damage to it that is refused."""
    cases = []
    for head, (_, call) in HEADS.items():
        for argument, value in call.items():
            wrong = VALUES if argument == "labels" and value.is_floating_point() else WRONG[argument]
            shapes = {} if value.ndim == 1 else SHAPES
            if argument == "labels":  # rows alone are counted in a label a row; a target may be of any length
                shapes = {
                    name: damage for name, damage in SHAPES.items() if name in ("no row", "no axis", "a row more")
                }
            # A call without a mask is one of another length, and where two inputs differ either may be named.
            cases += [(head, argument, name, damage) for name, damage in (wrong | shapes).items()]
    return [pytest.param(*case, id="-".join(case[:3])) for case in cases]


def alone(call: dict[str, Tensor], argument: str) -> dict[str, Tensor]:
    """A call without what would be too short or too long only because the damaged argument is."""
    masks = {"input_ids": "attention_mask", "input_values": "attention_mask", "pair_input_ids": "pair_attention_mask"}
    return {name: value for name, value in call.items() if name != masks.get(argument)}


# Shapes that may be those of another input.
ANSWERED = {"a step less", "a step more", "one axis less", "one axis more", "a row more"}


@pytest.mark.parametrize(("head", "argument", "name", "damage"), damages())
def test_a_malformed_input_is_refused_in_one_line_by_name_or_has_a_defined_result(head, argument, name, damage):
    make, call = HEADS[head]
    model = make()
    try:
        with torch.no_grad():
            output = model(**{**alone(call, argument), argument: damage(call[argument])})
    except (ValueError, TypeError) as error:
        words = str(error)
        assert "\n" not in words and len(words) < 300, words
        # An input of another length makes what stands beside it wrong: labels, types, the other mask.
        named = {argument.removeprefix("pair_"), *(call if name in SHAPES else ())}
        assert any(word in words for word in named) or "sequence" in words, words
    else:
        assert argument in ("input_ids", "input_values", "pair_input_ids") and name in ANSWERED, "was not refused"
        assert all(part.isfinite().all() for part in output.to_tuple() if isinstance(part, Tensor))


# --------------------------------------------------------------------------- what has its right value


@pytest.mark.parametrize("head", [head for head in HEADS if "attention_mask" in HEADS[head][1]])
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int32, torch.float32, torch.float16])
def test_a_mask_of_any_dtype_is_the_same_mask(head, dtype):
    make, call = HEADS[head]
    model, call = make(), {name: value for name, value in call.items() if name != "labels"}
    if head == "translation":
        call["decoder_input_ids"] = draw_words(2, 3)
    mask = MASK.clone()
    mask[0, 4:] = 0
    with torch.no_grad():
        expected, got = (
            next(iter(model(**call | {"attention_mask": given}).values())) for given in (mask, mask.to(dtype))
        )
    assert torch.equal(got, expected)


@pytest.mark.parametrize("head", [head for head in HEADS if "input_ids" in HEADS[head][1]])
def test_ids_of_32_bits_are_the_same_ids(head):
    make, call = HEADS[head]
    model = make()
    with torch.no_grad():
        expected, got = (model(**call | {"input_ids": ids}) for ids in (call["input_ids"], call["input_ids"].int()))
    assert torch.equal(got.to_tuple()[0], expected.to_tuple()[0])


@pytest.mark.parametrize("head", [head for head in SEVERAL if head != "lstm"])
def test_a_row_without_a_real_step_is_zeros_where_every_step_is_answered(head):
    make, call = HEADS[head]
    mask = MASK.clone()
    mask[0] = 0
    with torch.no_grad():
        model = make()
        body = model if head in ("body", "signal") else model.model
        inputs = {name: value for name, value in call.items() if name in ("input_ids", "input_values")}
        states = body(**inputs, attention_mask=mask).last_hidden_state
        expected = body(**inputs).last_hidden_state
    assert not states[0].any() and torch.allclose(states[1], expected[1], atol=1e-12)


@pytest.mark.parametrize("head", ["class", "pair", "two sequences", "series", "sound", "translation"])
def test_a_row_without_a_real_step_has_no_class_and_no_translation(head):
    make, call = HEADS[head]
    mask = MASK.clone()
    mask[0] = 0
    with pytest.raises(ValueError, match=r"attention_mask leaves no real step in row 0"):
        make()(**call | {"attention_mask": mask})


# --------------------------------------------------------------------------- caches that are foreign or damaged


def keys_and_values() -> DynamicCache:
    cache = DynamicCache()
    cache.update(torch.zeros(2, 1, 3, 4), torch.zeros(2, 1, 3, 4), 0)
    return cache


FOREIGN = {
    "keys and values": keys_and_values,
    "empty": DynamicCache,
    "tuple": lambda: ((torch.zeros(2, 1, 3, 4),),),
    "string": lambda: "cache",
    "number": lambda: 3,
}
CARRYING = ["body", "signal", "next token", "lstm", "tags", "forecast", "translation"]


def without_labels(head: str) -> tuple[Any, dict[str, Tensor]]:
    make, call = HEADS[head]
    names = ("input_ids", "input_values")
    call = {name: value for name, value in call.items() if name in names}
    return make(), call | ({"decoder_input_ids": draw_words(2, 3)} if head == "translation" else {})


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("head", CARRYING)
def test_a_cache_that_holds_no_memories_is_refused_by_name(head, name):
    model, call = without_labels(head)
    with pytest.raises((TypeError, ValueError), match="cache") as refused:
        model(**call, past_key_values=FOREIGN[name]())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("head", [head for head in CARRYING if head != "translation"])
@pytest.mark.parametrize("damage", ["another order", "fewer rows", "a layer less"])
def test_a_damaged_cache_is_refused_by_name(head, damage):
    model, call = without_labels(head)
    with torch.no_grad():
        cache = model(**call, use_cache=True).past_key_values
    states = cache.layers[0].recurrent_states
    if damage == "another order":
        states[0] = states[0][..., :-1]
    elif damage == "fewer rows":
        states[0] = states[0][:1]
    else:
        cache.layers.pop()
    with pytest.raises((TypeError, ValueError), match=r"cache|memor") as refused, torch.no_grad():
        model(**call, past_key_values=cache)
    assert "\n" not in str(refused.value)
