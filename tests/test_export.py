"""A graph says what its model says: at any batch and length, and token for token.

Held to 1e-5: another library's matrix products add float32 numbers in another order.
"""

from pathlib import Path

import pytest
import torch

from lmu_hf import (
    LMUConfig,
    LMUForCausalLM,
    LMUForConditionalGeneration,
    LMUForImageClassification,
    LMUForSequenceClassification,
    LMUForSequencePairClassification,
    LMUForTimeSeriesPrediction,
    LMUForTokenClassification,
    LMUModel,
)
from lmu_hf.hub.export import differences, export, graphs, load_onnx
from lmu_hf.memory import memory_recurrent, memory_scanned
from lmu_hf.statespace import LegendreSystem
from tiny_votes import OF_PAIRS, write_votes

SIZES = [(b, n) for b in (1, 7) for n in (1, 63, 2048)]
SMALL = {"vocab_size": 11, "hidden_size": 16, "num_hidden_layers": 2, "order": 6, "theta": 20.0, "num_labels": 3}
SIGNAL = {"vocab_size": None, "input_size": 2}
TRANSLATION = {"is_encoder_decoder": True, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
NGRAMS = {"ngrams": {"sizes": [2, 3], "buckets": 40, "width": 4}}
HEADS = {
    "sequence": (LMUForSequenceClassification, {"block_type": "residual"}),
    "signal": (LMUForSequenceClassification, {**SIGNAL, "pooling": "max", "block_type": "highway"}),
    "pair": (LMUForSequencePairClassification, {"pooling": "mean_max", "bidirectional": True}),
    "aligned pair": (LMUForSequencePairClassification, {"pooling": "mean_max", "alignment": {"size": 4}}),
    "tokens": (LMUForTokenClassification, {"pooling": "mean", "bidirectional": True}),
    "image": (LMUForImageClassification, {"vocab_size": None, "input_size": 1, "image_size": 8}),
    "forecast": (LMUForTimeSeriesPrediction, {**SIGNAL, "output_size": 2, "order": 40, "theta": 50.0}),
    "n-grams": (LMUForSequenceClassification, NGRAMS),
    "windows": (LMUForSequenceClassification, {"theta": [[20.0, 5.0], [4.0, 90.0]]}),
    "votes": (LMUForSequenceClassification, {"votes": {"sizes": [1, 2], "buckets": 40}, "pooling": "mean"}),
    "votes of pairs": (LMUForSequencePairClassification, {"votes": OF_PAIRS, "pooling": "mean"}),
}


def make(kind, **changes):
    torch.manual_seed(0)
    model = kind(LMUConfig(**{**SMALL, **changes})).eval()
    if "votes" in changes:
        write_votes(model.votes)
    return model


def exported(model, folder: Path):
    pytest.importorskip("onnxruntime", reason="ONNX files need the extra: pip install 'lmu-hf[export]'")
    export(model, folder)
    return {name: load_onnx(folder / f"{name}.onnx") for name in graphs(model)}


@pytest.mark.slow
@pytest.mark.parametrize("kind, changes", HEADS.values(), ids=HEADS)
def test_an_onnx_file_is_the_model_at_any_batch_and_length(kind, changes, tmp_path):
    model = make(kind, **changes)
    exported(model, tmp_path)
    assert max(differences(model, tmp_path, SIZES).values()) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, NGRAMS], ids=["memories", "n-grams"])
def test_prompt_and_step_generate_what_the_model_generates(changes, tmp_path):
    model = make(LMUForCausalLM, **changes)
    run, names = exported(model, tmp_path), list(graphs(model)["step"].inputs)
    assert (names[-1] == "last_tokens") == bool(changes)
    assert max(differences(model, tmp_path, SIZES).values()) < 1e-5
    ids = torch.randint(11, (2, 9))
    mask = torch.ones_like(ids)
    mask[1, :4] = 0  # the shorter prompt is padded on the left
    expected = model.generate(ids, attention_mask=mask, max_new_tokens=200, do_sample=False, eos_token_id=None)
    logits, *carried = run["prompt"]({"input_ids": ids, "attention_mask": mask})
    tokens = [logits.argmax(-1, keepdim=True)]
    for _ in range(199):
        logits, *carried = run["step"](dict(zip(names, [tokens[-1], *carried], strict=True)))
        tokens.append(logits.argmax(-1, keepdim=True))
    assert torch.equal(torch.cat([ids, *tokens], dim=1), expected)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, NGRAMS], ids=["memories", "n-grams"])
def test_a_step_from_zero_memories_is_a_first_step(changes):
    model = make(LMUForCausalLM, **changes)
    graph = graphs(model)["step"]
    ids = torch.randint(11, (2, 1))
    zeros = [memory for name, memory in graph.inputs.items() if name != "input_ids"]
    assert not any(memory.any() for memory in zeros)
    torch.testing.assert_close(graph.module(ids, *zeros)[0], model(ids).logits[:, -1])


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, NGRAMS], ids=["dot", "n-grams"])
def test_source_and_step_translate_as_the_model_does(changes, tmp_path):
    model = make(LMUForConditionalGeneration, **TRANSLATION, **changes, num_attention_heads=2)
    run = exported(model, tmp_path)
    assert max(differences(model, tmp_path, [(1, 1), (7, 63)]).values()) < 1e-5
    ids = torch.randint(3, 11, (2, 9))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    expected = model.generate(ids, attention_mask=mask, max_new_tokens=40, do_sample=False, eos_token_id=None)
    step = graphs(model)["step"]
    keys_and_values = run["source"]({"input_ids": ids, "attention_mask": mask})
    read = dict(zip(graphs(model)["source"].outputs, keys_and_values, strict=True))
    names = [name.removeprefix("new_") for name in step.outputs[1:]]
    carried = [step.inputs[name] for name in names]
    tokens = [expected[:, :1]]
    for _ in range(expected.shape[1] - 1):
        given = dict(zip(names, carried, strict=True))
        logits, *carried = run["step"]({"decoder_input_ids": tokens[-1], "attention_mask": mask, **given, **read})
        tokens.append(logits.argmax(-1, keepdim=True))
    assert ("last_tokens" in names) == ("ngrams" in changes)
    assert torch.equal(torch.cat(tokens, dim=1), expected)


@pytest.mark.slow
def test_a_torch_program_takes_any_batch_and_length(tmp_path):
    model = make(LMUForSequenceClassification)
    [path] = export(model, tmp_path, "pt2")
    graph = graphs(model)["model"]
    program = torch.export.load(path).module()
    for b, n in SIZES:
        given = graph.resized(b, n).values()
        torch.testing.assert_close(program(*given), graph.module(*given), rtol=0, atol=1e-5)


def test_exporting_leaves_the_model_as_it_is():
    model = make(LMUForSequenceClassification).train()
    graphs(model)
    assert model.training and model.model.layers[0].memory.memory_form == "auto"
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_model_without_a_head_is_refused(tmp_path):
    with pytest.raises(TypeError, match="no graph is known for LMUModel"):
        graphs(make(LMUModel))
    with pytest.raises(ValueError, match="format must be one of"):
        export(make(LMUForSequenceClassification), tmp_path, "pickle")


# --------------------------------------------------------------------------- the form behind it


@pytest.mark.parametrize("carried", [False, True])
@pytest.mark.parametrize("order, n, block", [(1, 1, None), (6, 63, 7), (6, 65, 64), (64, 300, None), (6, 64, 64)])
def test_the_scanned_form_is_the_recurrence(order, n, block, carried):
    system = LegendreSystem(order, 3.0 * order)
    u = torch.randn(2, n, 3, dtype=torch.float64, requires_grad=True)
    initial = torch.randn(2, 3, order, dtype=torch.float64, requires_grad=True) if carried else None
    given = [u] if initial is None else [u, initial]
    outcomes = []
    for form in (memory_recurrent, lambda *args: memory_scanned(*args, chunk=block)):
        m, final = form(u, system, initial)
        outcomes.append([m, final, *torch.autograd.grad(m.square().sum() + final.pow(3).sum(), given)])
    for expected, got in zip(*outcomes, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-11 * expected.abs().max().item())


# --------------------------------------------------------------------------- by hand

BY_HAND = {
    "language": (LMUForCausalLM, {}),
    "body": (LMUModel, {"block_type": "highway"}),
    "forecast": (LMUForTimeSeriesPrediction, {**SIGNAL, "output_size": 2}),
    "maximum": (LMUForSequenceClassification, {"pooling": "max", "bidirectional": True}),
    "mean": (LMUForSequenceClassification, {"pooling": "mean", "block_type": "lmu", "hidden_act": "identity"}),
    "last": (LMUForSequenceClassification, {}),
}


def read(model, b: int, n: int) -> dict:
    if model.config.vocab_size is None:
        return {"input_values": torch.randn(b, n, 2)}
    return {"input_ids": torch.randint(11, (b, n))}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "changes"), BY_HAND.values(), ids=BY_HAND)
def test_any_model_is_exported_by_hand_with_a_free_batch_and_length(kind, changes):
    model = make(kind, **changes)
    free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("time")}
    inputs = read(model, 2, 70)
    program = torch.export.export(model, (), inputs, dynamic_shapes=dict.fromkeys(inputs, free)).module()
    for b, n in ((2, 70), (3, 7), (1, 300)):
        inputs = read(model, b, n)
        with torch.no_grad():
            assert (program(**inputs).to_tuple()[0] - model(**inputs).to_tuple()[0]).abs().max() < 1e-5


def test_a_form_that_unrolls_one_length_is_refused_by_name():
    model = make(LMUForCausalLM, memory_form="fft")
    free = {"input_ids": {1: torch.export.Dim.AUTO}}
    with pytest.raises(ValueError, match="memory_form='fft' has a graph for one length alone"):
        torch.export.export(model, (), read(model, 2, 70), dynamic_shapes=free, strict=False)
