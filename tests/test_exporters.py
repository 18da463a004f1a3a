"""Every head goes through torch.export by hand and through transformers' own exporter, at any batch and length.

Held to 1e-5: another order of float32 sums.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from lmu_hf import (
    LMUConfig,
    LMUEncoderDecoderModel,
    LMUForAudioClassification,
    LMUForCausalLM,
    LMUForConditionalGeneration,
    LMUForImageClassification,
    LMUForSequenceClassification,
    LMUForSequencePairClassification,
    LMUForTimeSeriesClassification,
    LMUForTimeSeriesPrediction,
    LMUForTokenClassification,
    LMUModel,
)
from tiny_votes import OF_PAIRS, write_votes

pytestmark = pytest.mark.ecosystem
SMALL = {"vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 1, "order": 4, "theta": 20.0, "num_labels": 3}
SIGNAL = {"vocab_size": None, "input_size": 2}
TRANSLATION = {"is_encoder_decoder": True, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
HORIZON = {"context_length": 48, "prediction_length": 6, "channels": 2, "quantiles": [0.1, 0.5, 0.9]}
SIZES = ((2, 70), (3, 7), (1, 300))
Inputs = dict[str, Tensor]


def text(b: int, n: int) -> Inputs:
    mask = torch.ones(b, n, dtype=torch.int64)
    mask[-1, 2:4] = 0
    return {"input_ids": torch.randint(3, 11, (b, n)), "attention_mask": mask}


def signal(b: int, n: int) -> Inputs:
    return {"input_values": torch.randn(b, n, 2), "attention_mask": text(b, n)["attention_mask"]}


def pair(b: int, n: int) -> Inputs:
    return {**text(b, n), "token_type_ids": torch.arange(n).remainder(2).repeat(b, 1)}


def translation(b: int, n: int) -> Inputs:
    return {**text(b, n), "decoder_input_ids": torch.randint(3, 11, (b, n // 2))}


def image(b: int, n: int) -> Inputs:
    return {"pixel_values": torch.rand(b, 1, 8, 8)}


def context(b: int, n: int) -> Inputs:
    return {"input_values": torch.randn(b, 48, 2)}


@dataclass(frozen=True)
class Case:
    """A head, what its config adds, what it reads, and which axes are free."""

    kind: type
    read: Callable[[int, int], Inputs]
    changes: dict = field(default_factory=dict)
    silence: int = 0  # steps of it, behind shorter series

    def model(self) -> torch.nn.Module:
        torch.manual_seed(0)
        model = self.kind(LMUConfig(**{**SMALL, **self.changes}))
        if self.silence:
            model.signals.silence.fill_(self.silence)
        model.eval()  # takes note of the silence
        if "votes" in self.changes:
            write_votes(model.votes)
        return model

    def shapes(self) -> dict:
        """The batch is free; so is the time, where there is one that is."""
        dims = {name: torch.export.Dim(name) for name in ("batch", "time", "target")}
        fixed = self.read in (image, context)
        shapes = {}
        for name in self.read(2, 70):
            axis = dims["target" if name.startswith("decoder") else "time"]
            shapes[name] = {0: dims["batch"]} if fixed else {0: dims["batch"], 1: axis}
        return shapes


HEADS = {
    "language": Case(LMUForCausalLM, text),
    "n-grams": Case(LMUForCausalLM, text, {"ngrams": {"sizes": [2, 3], "buckets": 40, "width": 4}}),
    "body": Case(LMUModel, text, {"block_type": "highway"}),
    "sequence": Case(LMUForSequenceClassification, text),
    "both ways": Case(LMUForSequenceClassification, text, {"pooling": "mean_max", "bidirectional": True}),
    "votes": Case(LMUForSequenceClassification, text, {"votes": {"sizes": [1], "buckets": 40}, "pooling": "mean"}),
    "pair": Case(LMUForSequencePairClassification, pair, {"pooling": "mean"}),
    "votes of pairs": Case(LMUForSequencePairClassification, pair, {"votes": OF_PAIRS, "pooling": "mean"}),
    "aligned": Case(LMUForSequencePairClassification, pair, {"pooling": "mean_max", "alignment": {"size": 4}}),
    "tokens": Case(LMUForTokenClassification, text, {"pooling": "mean", "bidirectional": True}),
    "image": Case(LMUForImageClassification, image, {"vocab_size": None, "input_size": 1, "image_size": 8}),
    "audio": Case(LMUForAudioClassification, signal, {**SIGNAL, "pooling": "mean"}),
    "series": Case(LMUForTimeSeriesClassification, signal, {**SIGNAL, "pooling": "share"}),
    "silence": Case(LMUForTimeSeriesClassification, signal, {**SIGNAL, "pooling": "share"}, 100),
    "forecast": Case(LMUForTimeSeriesPrediction, signal, {**SIGNAL, "output_size": 2}),
    "horizon": Case(LMUForTimeSeriesPrediction, context, {"vocab_size": None, "input_size": 1, "forecast": HORIZON}),
    "translation": Case(LMUForConditionalGeneration, translation, TRANSLATION),
    "two stacks": Case(LMUEncoderDecoderModel, translation, TRANSLATION),
}
every_head = pytest.mark.parametrize("case", HEADS.values(), ids=HEADS)


def first(output) -> Tensor:
    """What a model returns first, in whatever container a runtime has."""
    if isinstance(output, dict):
        return next(iter(output.values()))
    return output[0] if isinstance(output, tuple | list) else output


def compare(case: Case, model: torch.nn.Module, run: Callable[..., object]) -> None:
    for b, n in SIZES:
        inputs = case.read(b, n)
        with torch.no_grad():
            expected = first(model(**inputs))
        torch.testing.assert_close(first(run(**inputs)), expected, rtol=0, atol=1e-5)


@every_head
def test_torch_export_by_hand_has_a_free_batch_and_length(case):
    model = case.model()
    program = torch.export.export(model, (), case.read(2, 70), dynamic_shapes=case.shapes())
    compare(case, model, program.module())


@every_head
def test_the_exporter_of_transformers_finds_the_free_axes(case):
    exporters = pytest.importorskip("transformers.exporters", reason="since transformers 5.24")
    model = case.model()
    config = exporters.DynamoConfig(dynamic=True)
    exported = exporters.DynamoExporter().export(model, case.read(2, 70), config=config)
    compare(case, model, exported.program.module())
