"""One step of listening as a function of tensors alone: samples and what is carried in, logits and that out."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from lmu_hf.cache_lmu import LMUCacheLayer
from lmu_hf.configuration_lmu import POOLINGS
from lmu_hf.frames_lmu import Frames, features_of, standardise
from lmu_hf.recording import cache_of

EXAMPLES = 2  # sounds in the example that is traced


class ListenStep(nn.Module):
    """Reads one hop of samples (b, hop_length); its other inputs are what the step before put out, under ``new_``.

    ``tail`` (b, frame_length − hop_length) are the samples before these: for the first step the sound's own first ones,
    so that the step ends its first frame. All other inputs are zeros then. ``frames`` (1,) counts the steps before.

    Args:
        model: a causal classifier of sounds with ``config.audio``.
        frames: that record.
    """

    def __init__(self, model: Any, frames: Frames) -> None:
        super().__init__()
        self.model, self.frames = model, frames
        self.words: tuple[str, ...] = POOLINGS[model.config.pooling]
        self.eval()
        self.inputs = self._examples()
        with torch.no_grad():  # tables that are made once are made here, with numbers, and not while a graph is traced
            self(*self.inputs.values())

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The inputs in the order of :attr:`inputs`, an example of each by its name; see :meth:`run`."""
        return self.run(dict(zip(self.inputs, tensors, strict=True)))

    def _examples(self) -> dict[str, Tensor]:
        """The beginning of a sound: a little noise."""
        frames, width = self.frames, self.model.config.hidden_size
        noise = torch.randn(EXAMPLES, frames.length, generator=torch.Generator().manual_seed(0)) / 10
        given = {"samples": noise[:, frames.overlap :], "tail": noise[:, : frames.overlap]}
        given["frames"] = torch.zeros(1, dtype=torch.int64)
        if frames.adaptation is not None or frames.relative_floor is not None:
            given["sums"] = torch.zeros(EXAMPLES, frames.sums, dtype=torch.float64)
        # Sums in float64, as a listener has them: they grow with the sound.
        kinds = {"mean": torch.float64, "max": torch.float32}
        given |= {
            f"pooled_{word}": torch.zeros(EXAMPLES, width, dtype=kinds[word]) for word in self.words if word in kinds
        }
        return given | {name: torch.zeros_like(memory) for name, memory in self._memories().items()}

    def _memories(self) -> dict[str, Tensor]:
        with torch.no_grad():  # one step is read to learn the shapes of all layers
            values = torch.zeros(EXAMPLES, 1, self.frames.size)
            read = self.model.model(input_values=values, use_cache=True, return_dict=True)
        return _carried(cache_of(read))

    def run(self, given: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """The logits (b, num_labels), and what the next step takes beside ``samples``, of the inputs by name."""
        samples = torch.cat([given["tail"], given["samples"]], dim=1)
        features = features_of(samples.double()[:, None], self.frames)
        count = given["frames"]
        before = given.get("sums", features.new_zeros(1, self.frames.sums))
        values, sums = standardise(features, self.frames, before, count)
        cache = DynamicCache(config=self.model.config)
        for number in range(len(self.model.model.layers)):
            cache.update_recurrent_state(given[f"memory_{number}"], number, tokens=1)
        read = self.model.model(input_values=values.float(), cache=cache, use_cache=True, return_dict=True)
        pooled, held = self._pool(read.last_hidden_state[:, 0], count, given)
        logits = self.model.in_units(self.model.classifier(pooled))
        carried = {"tail": samples[:, self.frames.hop :], "frames": count + 1, "sums": sums, **held, **_carried(cache)}
        return logits, *(carried[name] for name in given if name != "samples")

    def _pool(self, state: Tensor, count: Tensor, given: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """What the head reads after this step, and what of it is carried."""
        parts, held = [], {}
        for word in self.words:
            before = given.get(f"pooled_{word}")
            if word == "mean":
                held["pooled_mean"] = cast(Tensor, before) + state.double()
                parts.append((held["pooled_mean"] / (count + 1)).to(state.dtype))
            elif word == "max":
                # Zeros at the start are no maximum.
                held["pooled_max"] = torch.where(count == 0, state, torch.maximum(state, cast(Tensor, before)))
                parts.append(held["pooled_max"])
            else:
                parts.append(state)
        return torch.cat(parts, dim=-1), held


def _carried(cache: Any) -> dict[str, Tensor]:
    layers = (cast(LMUCacheLayer, layer) for layer in cache.layers)
    return {f"memory_{number}": cast(Tensor, layer.memory) for number, layer in enumerate(layers)}
