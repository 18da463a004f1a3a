"""A model as graphs that need none of its code: `torch.export` programs and ONNX files.

Classifiers and forecasts are one graph, of any batch and any length (an image has as many steps as pixels). Generators
carry their state outside: a graph reads the prompt, or the source, and a graph makes one more step, from the memories
that go in to those that come out. Memories of zeros are a fresh start.

=============================  ==========  ===========================================================================
model                          graph       inputs → outputs
=============================  ==========  ===========================================================================
sequence, token classifier     model       input_ids or input_values, attention_mask → logits
pair classifier                model       input_ids, attention_mask, token_type_ids → logits
image classifier               model       pixel_values → logits
audio classifier               model       input_values, attention_mask → logits
audio classifier that listens  step        samples (b, hop), tail, frames, sums, pooled_*, memory_* → logits, new_*
forecast                       model       input_values, attention_mask → predictions
forecast of a whole horizon    model       input_values, covariates → predictions, quantiles, where the model has them
language model                 prompt      input_ids, attention_mask → logits (of the next token), new_memory_*
language model                 step        input_ids (b, 1), memory_* → logits, new_memory_*
language model of n-grams      both        and last_tokens, and new_last_tokens: ids + 1, zeros for a fresh start
translation                    source      input_ids, attention_mask → keys_*, values_*
translation                    step        decoder_input_ids (b, 1), attention_mask, memory_*, keys_*, values_* →
                                           logits, new_memory_*
=============================  ==========  ===========================================================================
"""

import copy
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel

from lmu_hf.audio_lmu import LMUForAudioClassification
from lmu_hf.cache_lmu import LMUCacheLayer
from lmu_hf.forecasts_lmu import LMUForTimeSeriesPrediction
from lmu_hf.frames_lmu import Frames
from lmu_hf.images_lmu import LMUForImageClassification
from lmu_hf.layers import LMULayer
from lmu_hf.modeling_lmu import LMUForCausalLM
from lmu_hf.modeling_lmu_seq2seq import LMUForConditionalGeneration
from lmu_hf.pairs_lmu import LMUForSequencePairClassification
from lmu_hf.recording import cache_of

from ..common.staging import written_together
from .export_listening import ListenStep

OPSET = 20
LAST_TOKENS = "last_tokens"
Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class Graph:
    """A function of named tensors, ready to be traced.

    Args:
        module: takes the inputs in their order and returns the outputs, one or a tuple.
        inputs: an example of each input.
        axes: of each input, which axes may have any size, by name.
        outputs: their names.
        shortest: the fewest steps that make sense.
    """

    module: nn.Module
    inputs: Inputs
    axes: dict[str, dict[int, str]]
    outputs: list[str]
    shortest: int = 1

    def program(self) -> torch.export.ExportedProgram:
        """The graph, traced by `torch.export`."""
        with torch.no_grad():
            return torch.export.export(
                self.module,
                tuple(self.inputs.values()),
                dynamic_shapes=self._shapes(),
                # Conditions on sizes become checks at run time; as guards they could tie the graph to one size.
                prefer_deferred_runtime_asserts_over_guards=True,
            )

    def write_onnx(self, path: Path) -> None:
        """The graph as an ONNX file, checked by `onnx`.

        Raises:
            ImportError: `onnx` or `onnxscript` is not installed.
        """
        import onnx

        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of torch's exporter about torch itself
            warnings.filterwarnings("ignore", message=".*axis name.*")  # which inputs share, as they should
            made = torch.onnx.export(
                self.program(),
                input_names=list(self.inputs),
                output_names=self.outputs,
                dynamic_shapes=self._shapes(),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        if made is None:
            raise RuntimeError("torch.onnx.export returned no program")
        made.save(path)
        onnx.checker.check_model(path)

    def resized(self, b: int, n: int) -> Inputs:
        """The examples' numbers, cut or repeated to b rows of n steps, or of as many as make sense."""
        sizes, resized = {"batch": b, "time": max(n, self.shortest)}, {}
        for name, tensor in self.inputs.items():
            for axis, free in self.axes[name].items():
                index = torch.arange(sizes[free]) % tensor.shape[axis]
                tensor = tensor.index_select(axis, index)
            resized[name] = tensor
        return resized

    def _shapes(self) -> tuple[Any, ...]:
        # One Dim a name: axes of one name have one size.
        dims = {name: torch.export.Dim(name) for axes in self.axes.values() for name in axes.values()}
        # A tuple in a tuple: to torch.export, `*tensors` of `_Call.forward` is one argument.
        return (tuple({axis: dims[name] for axis, name in self.axes[given].items()} for given in self.inputs),)


class _Call(nn.Module):
    """Tensors by position to tensors, of a model that takes and returns them by name."""

    def __init__(self, model: PreTrainedModel, names: Sequence[str]) -> None:
        super().__init__()
        self.model: Any = model
        self.names = list(names)
        self.eval()

    def forward(self, *tensors: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The inputs in the order of ``names``."""
        return self.run(dict(zip(self.names, tensors, strict=True)))

    def run(self, given: Inputs) -> Tensor | tuple[Tensor, ...]:
        """The inputs by name: what a classifier or a forecast returns first."""
        return self.model(**given, return_dict=True).to_tuple()[0]


class _Prompt(_Call):
    def run(self, given: Inputs) -> tuple[Tensor, ...]:
        # Only the last real step is projected: logits of all steps would be (b, n, vocabulary).
        read = self.model.model(**given, use_cache=True, wanted="last", return_dict=True)
        return self.model.lm_head(read.last_hidden_state[:, 0]), *_carried(cache_of(read)).values()


class _Step(_Call):
    def run(self, given: Inputs) -> tuple[Tensor, ...]:
        cache = _cache_of(self.model.config, given)
        logits = self.model(input_ids=given["input_ids"], cache=cache, return_dict=True).logits
        return logits[:, -1], *_carried(cache).values()


class _Source(_Call):
    def run(self, given: Inputs) -> tuple[Tensor, ...]:
        states = self.model.model.encoder(**given, return_dict=True).last_hidden_state
        pairs = [layer.cross_attention.keys_and_values(states, None) for layer in self.model.model.decoder.layers]
        return tuple(keys for keys, _ in pairs) + tuple(values for _, values in pairs)


class _TranslationStep(_Call):
    def run(self, given: Inputs) -> tuple[Tensor, ...]:
        decoder = self.model.model.decoder
        cache = EncoderDecoderCache(_cache_of(decoder.config, given), DynamicCache())
        for number, (keys, values) in enumerate(zip(_all(given, "keys"), _all(given, "values"), strict=True)):
            cache.cross_attention_cache.update(keys, values, number)
            # Cross-attention then takes these keys and values and computes none.
            cache.is_updated[number] = True
        read = decoder(
            input_ids=given["decoder_input_ids"],
            # Of the source's states, only the shape is looked at: their keys and values are here.
            encoder_hidden_states=given["keys_0"].transpose(1, 2).flatten(2),
            encoder_attention_mask=given["attention_mask"],
            cache=cache,
            return_dict=True,
        )
        return self.model.lm_head(read.last_hidden_state[:, -1]), *_carried(cache.self_attention_cache).values()


def _cache_of(config: Any, given: Inputs) -> DynamicCache:
    cache = DynamicCache(config=config)
    for number, memory in enumerate(_all(given, "memory")):
        cache.update_recurrent_state(memory, number, tokens=1)
    # An n-gram embedding reads them; the first layer holds them for the whole stack.
    if LAST_TOKENS in given:
        cast(LMUCacheLayer, cache.layers[0]).update_tokens(given[LAST_TOKENS])
    return cache


def _carried(cache: Any) -> Inputs:
    """What a graph takes and returns of a cache, by the names that it takes it under."""
    carried = {f"memory_{number}": layer.memory for number, layer in enumerate(cache.layers)}
    tokens = cache.layers[0].tokens
    return carried if tokens is None else {**carried, LAST_TOKENS: tokens}


def _all(given: Mapping[str, Tensor], kind: str) -> list[Tensor]:
    return [tensor for name, tensor in given.items() if name.rpartition("_")[0] == kind]


def graphs(model: PreTrainedModel) -> dict[str, Graph]:
    """The graphs that a model is exported as, by name, in float32 and as for inference; the model stays as it is.

    Raises:
        TypeError: there is no graph for this class of models.
    """
    model = copy.deepcopy(model).float().eval().requires_grad_(False)
    for layer in model.modules():
        if isinstance(layer, LMULayer):  # the one word that serves a length that is free and one that is not
            layer.memory_form = "auto"
    if isinstance(model, LMUForImageClassification):
        size = model.config.image_size or 0  # the class asks for one
        pixels = torch.randn(2, model.config.input_size or 1, size, size)
        call = _Call(model, ["pixel_values"])
        return {"model": Graph(call, {"pixel_values": pixels}, {"pixel_values": {0: "batch"}}, ["logits"])}
    if isinstance(model, LMUForCausalLM):
        return _language_graphs(model)
    if isinstance(model, LMUForConditionalGeneration):
        return _translation_graphs(model)
    if isinstance(model, LMUForTimeSeriesPrediction) and model.option is not None:
        return _horizon_graph(model)
    if isinstance(model, LMUForSequencePairClassification):
        # The two texts in turn, so that any length from 2 on has a step of each: hence `shortest` below.
        inputs = {**_sequence(model), "token_type_ids": torch.arange(LENGTH).remainder(2).repeat(2, 1)}
    elif model.base_model is not model:  # every other head reads one sequence a row
        inputs = _sequence(model)
    else:
        raise TypeError(f"no graph is known for {type(model).__name__}: give a model with a head")
    axes = {name: {0: "batch", 1: "time"} for name in inputs}
    output = "predictions" if isinstance(model, LMUForTimeSeriesPrediction) else "logits"
    whole = Graph(_Call(model, list(inputs)), inputs, axes, [output], 2 if "token_type_ids" in inputs else 1)
    return {"model": whole, **_listening_graph(model)}


def _listening_graph(model: Any) -> dict[str, Graph]:
    """The step of a classifier of sounds that can listen; nothing of any other model."""
    frames = Frames.of(model.config) if isinstance(model, LMUForAudioClassification) else None
    if frames is None or model.config.bidirectional:
        return {}
    step = ListenStep(model, frames)
    axes = {name: {0: "batch"} if name != "frames" else {} for name in step.inputs}
    outputs = ["logits", *(f"new_{name}" for name in step.inputs if name != "samples")]
    return {"step": Graph(step, step.inputs, axes, outputs)}


class _Horizon(_Call):
    def run(self, given: Inputs) -> tuple[Tensor, ...]:
        said = self.model(**given, return_dict=True)
        return (said.predictions,) if said.quantiles is None else (said.predictions, said.quantiles)


def _horizon_graph(model: LMUForTimeSeriesPrediction) -> dict[str, Graph]:
    """A whole context in, a whole horizon out: only the batch is free."""
    found: Any = model.option
    inputs = {"input_values": torch.randn(2, found.context_length, found.channels)}
    if found.covariates:
        inputs["covariates"] = torch.randn(2, found.context_length + found.prediction_length, found.covariates)
    outputs = ["predictions"] if found.quantiles is None else ["predictions", "quantiles"]
    return {"model": Graph(_Horizon(model, list(inputs)), inputs, {name: {0: "batch"} for name in inputs}, outputs)}


LENGTH = 70  # of examples: more than one block, and no multiple of one


def _sequence(model: PreTrainedModel) -> Inputs:
    mask = torch.ones(2, LENGTH, dtype=torch.int64)
    # A hole in one row, so that a file is compared where the mask matters.
    mask[1, 3:9] = 0
    if model.config.input_size is None:
        return {"input_ids": torch.randint(model.config.vocab_size, (2, LENGTH)), "attention_mask": mask}
    return {"input_values": torch.randn(2, LENGTH, model.config.input_size), "attention_mask": mask}


def _empty_memories(stack: Any) -> Inputs:
    """Memories of zeros for a stack, in a batch of two."""
    with torch.no_grad():
        # One step is read to learn the shapes of all layers. A decoder needs a source for that.
        read = stack(
            input_ids=torch.zeros(2, 1, dtype=torch.int64),
            use_cache=True,
            encoder_hidden_states=torch.zeros(2, 1, stack.config.hidden_size),
            return_dict=True,
        )
    cache = cache_of(read)
    cache = cache.self_attention_cache if isinstance(cache, EncoderDecoderCache) else cache
    return {name: torch.zeros_like(tensor) for name, tensor in _carried(cache).items()}


def _language_graphs(model: LMUForCausalLM) -> dict[str, Graph]:
    prompt, memories = _sequence(model), _empty_memories(model.model)
    # One token a row: of a step's inputs only the batch is free.
    step = {"input_ids": torch.zeros(2, 1, dtype=torch.int64), **memories}
    outputs = ["logits", *(f"new_{name}" for name in memories)]
    return {
        "prompt": Graph(
            _Prompt(model, list(prompt)), prompt, {name: {0: "batch", 1: "time"} for name in prompt}, outputs
        ),
        "step": Graph(_Step(model, list(step)), step, {name: {0: "batch"} for name in step}, outputs),
    }


def _translation_graphs(model: LMUForConditionalGeneration) -> dict[str, Graph]:
    source, memories = _sequence(model), _empty_memories(model.model.decoder)
    layers, heads = len(model.model.decoder.layers), model.config.num_attention_heads
    read = {
        f"{kind}_{number}": torch.randn(2, heads, LENGTH, model.config.hidden_size // heads)
        for kind in ("keys", "values")
        for number in range(layers)
    }
    step = {
        "decoder_input_ids": torch.zeros(2, 1, dtype=torch.int64),
        "attention_mask": source["attention_mask"],
        **memories,
        **read,
    }
    axes: dict[str, dict[int, str]] = {name: {0: "batch"} for name in step}
    axes["attention_mask"] = {0: "batch", 1: "time"}
    axes |= {name: {0: "batch", 2: "time"} for name in read}  # (b, heads, n, width): as long as the source
    outputs = ["logits", *(f"new_{name}" for name in memories)]
    return {
        "source": Graph(
            _Source(model, list(source)), source, {name: {0: "batch", 1: "time"} for name in source}, list(read)
        ),
        "step": Graph(_TranslationStep(model, list(step)), step, axes, outputs),
    }


FORMATS = ("onnx", "pt2")
SIZES = ((1, 1), (1, 63), (7, 2048), (7, 1))  # batches and lengths that files are compared at


def export(model: PreTrainedModel, folder: Path, file_format: str = "onnx") -> list[Path]:
    """Write every graph of a model into a folder, as NAME.onnx or NAME.pt2.

    Raises:
        ImportError: ONNX files are asked for, and the `export` extra is not installed.
        TypeError: there is no graph for this class of models.
        ValueError: the format is not one of ``FORMATS``.
    """
    if file_format not in FORMATS:
        raise ValueError(f"the format must be one of {FORMATS}, got {file_format!r}")
    made = {f"{name}.{file_format}": graph for name, graph in graphs(model).items()}
    with written_together(folder, list(made)[-1]) as staged:  # weights of a large graph lie beside it
        for name, graph in made.items():
            if file_format == "onnx":
                graph.write_onnx(staged / name)
                continue
            # By way of memory: torch's own writer says of a full disk no more than that it failed.
            torch.export.save(graph.program(), program := io.BytesIO())
            (staged / name).write_bytes(program.getbuffer())
    return [folder / name for name in made]


def differences(model: PreTrainedModel, folder: Path, sizes: Sequence[tuple[int, int]] = SIZES) -> dict[str, float]:
    """How far each ONNX file of a folder is from the model: the largest difference of any number it returns.

    Raises:
        ImportError: `onnxruntime` is not installed.
    """
    return {
        name: max(_difference(graph, run, b, n) for b, n in sizes)
        for name, graph in graphs(model).items()
        for run in [load_onnx(folder / f"{name}.onnx")]  # a list of one: a file is loaded once for all sizes
    }


def load_onnx(path: Path) -> Callable[[Inputs], list[Tensor]]:
    """An ONNX file as a function of named tensors, run by onnxruntime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(given: Inputs) -> list[Tensor]:
        made = session.run(None, {name: tensor.numpy() for name, tensor in given.items()})
        return [torch.from_numpy(array) for array in made]

    return run


def _difference(graph: Graph, run: Callable[[Inputs], list[Tensor]], b: int, n: int) -> float:
    given = graph.resized(b, n)
    with torch.no_grad():
        expected = graph.module(*given.values())
    expected = expected if isinstance(expected, tuple) else (expected,)
    return max((made - wanted).abs().max().item() for made, wanted in zip(run(given), expected, strict=True))
