"""ONNX files with weights of eight bits, by onnxruntime's dynamic quantisation, and what that costs.

Activations are quantised as they come, so no data is needed. What a memory is made of, powers of Ā and its impulse
response, stays as it is: an error there would grow from step to step.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..common.staging import written_together
from .export import SIZES, Graph, Inputs

Run = Callable[[Inputs], list[Tensor]]
MADE_UP = "made-up inputs"
MOST_LINES, MOST_TOKENS = 1_000, 4_000  # of a text that a loss is measured on


@dataclass(frozen=True)
class Loss:
    """How far a file of eight bits is from the file that it was made of.

    Args:
        inputs: what both were given, in words.
        mean_difference: of the numbers of the first output.
        largest_difference: the largest of them.
        same_answer: the fraction of rows whose likeliest class or token is the same; None where there is none.
        bits: per token of a text that is read token by token, of both files; None where none was read so.
    """

    inputs: str
    mean_difference: float
    largest_difference: float
    same_answer: float | None = None
    bits: tuple[float, float] | None = None

    def __str__(self) -> str:
        said = f"mean difference {self.mean_difference:.1e}, largest {self.largest_difference:.1e}"
        if self.same_answer is not None:
            said += f", same answer in {self.same_answer:.1%} of rows"
        if self.bits is not None:
            said += f", {self.bits[0]:.3f} → {self.bits[1]:.3f} bits per token"
        return f"{said} ({self.inputs})"


def quantise(path: Path, model: PreTrainedModel, suffix: str) -> Path:
    """Write a file of eight bits beside an ONNX file of a model, called NAME + suffix.

    Raises:
        ImportError: onnxruntime is not installed.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx.load(path).graph
    own = _of_weights(graph, model)
    kept = [node.name for node in graph.node if node.name not in own]
    made = path.with_name(f"{path.stem}{suffix}.onnx")
    with written_together(made.parent, made.name) as staged:
        quantize_dynamic(path, staged / made.name, weight_type=QuantType.QInt8, nodes_to_exclude=kept)
    return made


def _of_weights(graph: Any, model: PreTrainedModel) -> set[str]:
    """The nodes of a file that multiply by one of the model's own matrices, or look something up in it."""
    from onnx import numpy_helper

    # An exporter renames matrices and transposes them: they are known by their numbers.
    own = {_numbers(parameter.detach()) for parameter in model.parameters() if parameter.ndim == 2}
    matrices = {
        tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy())
        for tensor in graph.initializer
        if len(tensor.dims) == 2
    }
    named = {name for name, matrix in matrices.items() if _numbers(matrix) in own}
    # A matrix may be transposed on its way.
    named |= {node.output[0] for node in graph.node if node.op_type == "Transpose" and node.input[0] in named}
    return {node.name for node in graph.node if named.intersection(node.input)}


def _numbers(matrix: Tensor) -> tuple[int, float, float]:
    """What of a matrix no transposition changes."""
    ranked = matrix.double().flatten().sort().values
    return len(ranked), ranked.sum().item(), ranked.square().sum().item()


def measure(
    graph: Graph, whole: Run, small: Run, text: Path | None = None, tokenizer: PreTrainedTokenizerBase | None = None
) -> Loss:
    """The loss of a quantised file.

    Args:
        graph: what both files are of.
        whole: runs the file of 32 bits.
        small: runs that of eight.
        text: a file to read; a graph that reads whole texts is given its lines, a language model's step its tokens in a
            row. Without it, and of all other graphs, inputs are made up.
        tokenizer: of that text.
    """
    if text is not None and tokenizer is not None:
        written = text.read_text(encoding="utf-8")
        if graph.inputs.keys() == {"input_ids", "attention_mask"}:
            lines = [line for line in written.splitlines() if line.strip()][:MOST_LINES]
            rows = (tokenizer(line, return_tensors="pt") for line in lines)
            given = ({name: row[name] for name in graph.inputs} for row in rows)
            return _compared(graph, _both(whole, small, given), f"{len(lines):,} lines of {text.name}")
        if "input_ids" in graph.inputs and "attention_mask" not in graph.inputs:
            ids = tokenizer(written, return_tensors="pt")["input_ids"][:, :MOST_TOKENS]
            steps = zip(_steps(graph, whole, ids), _steps(graph, small, ids), strict=True)
            return _compared(graph, steps, f"{ids.shape[1]:,} tokens of {text.name}", ids)
    made_up = (graph.resized(b, n) for b, n in SIZES)
    return _compared(graph, _both(whole, small, made_up), MADE_UP)


def _both(whole: Run, small: Run, given: Iterable[Inputs]) -> Iterator[tuple[Tensor, Tensor]]:
    return ((whole(inputs)[0], small(inputs)[0]) for inputs in given)


def _steps(graph: Graph, run: Run, ids: Tensor) -> Iterator[Tensor]:
    """The logits (1, vocab_size) behind each token of a text (1, n), from empty memories on."""
    carried = {name: tensor[:1] for name, tensor in graph.inputs.items() if name != "input_ids"}
    for place in range(ids.shape[1]):
        logits, *new = run({"input_ids": ids[:, place : place + 1], **carried})
        carried = dict(zip(carried, new, strict=True))
        yield logits


def _compared(graph: Graph, pairs: Iterable[tuple[Tensor, Tensor]], inputs: str, ids: Tensor | None = None) -> Loss:
    wholes, smalls = zip(*([answer.flatten(0, -2) for answer in pair] for pair in pairs), strict=True)
    whole, small = torch.cat(wholes), torch.cat(smalls)
    difference, answers, bits = (whole - small).abs(), None, None
    if graph.outputs[0] == "logits" and whole.shape[-1] > 1:
        answers = (whole.argmax(-1) == small.argmax(-1)).double().mean().item()
    if ids is not None and ids.shape[1] > 1:
        following = ids[0, 1:]
        nats = [torch.nn.functional.cross_entropy(logits[:-1], following).item() for logits in (whole, small)]
        bits = (nats[0] / math.log(2), nats[1] / math.log(2))
    return Loss(inputs, difference.mean().item(), difference.max().item(), answers, bits)
