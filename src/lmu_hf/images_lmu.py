"""An image read one pixel at a time: which class is it?"""

import torch
from torch import Tensor
from transformers import initialization as init
from transformers.modeling_outputs import (
    ImageClassifierOutput,
)
from transformers.utils import can_return_tuple

from .cache_lmu import refuse_caches
from .checking import IMAGES, check_finite, check_tensors
from .configuration_lmu import LMUConfig
from .heads_lmu import LMUPooledModel
from .layout import current_ranks, refuse_packing
from .losses import Items


class LMUForImageClassification(LMUPooledModel):
    """A class for an image that is read one pixel at a time, in raster order or by a stored permutation."""

    loaded_by = "AutoModelForImageClassification"
    main_input_name = "pixel_values"
    input_modalities = ["image"]

    # A buffer, declared for type checkers.
    permutation: Tensor

    def __init__(self, config: LMUConfig) -> None:
        super().__init__(config)
        if config.image_size is None or config.input_size is None:
            raise ValueError(
                f"an image classifier needs image_size, and input_size (numbers per pixel); got "
                f"image_size={config.image_size}, input_size={config.input_size}"
            )
        # Stored, not drawn again at every load: torch does not promise one order for a seed in all versions.
        self.register_buffer("permutation", self._draw_permutation())
        self.post_init()

    def find_integer_fault(self, permutation: Tensor) -> str | None:
        """What is wrong with numbers that are to be the order of pixels; None if nothing is."""
        sound = sorted(permutation.flatten().tolist()) == [*range(permutation.numel())]
        if sound and not permutation.is_floating_point():
            return None
        return f"must hold each of 0 … {permutation.numel() - 1} once, as integers"

    def _draw_permutation(self) -> Tensor:
        pixels = (self.config.image_size or 0) ** 2
        if self.config.permutation_seed is None:
            return torch.arange(pixels, device="cpu")
        # On the CPU whatever the default device is: a seed gives another order on another kind of device.
        generator = torch.Generator("cpu").manual_seed(self.config.permutation_seed)
        return torch.randperm(pixels, generator=generator, device="cpu")

    def draw_weights(self) -> None:
        """The stored order of pixels, where no checkpoint holds one."""
        # transformers' copy_, not torch's: it leaves alone what a checkpoint has filled.
        init.copy_(self.permutation, self._draw_permutation())

    def pixel_sequence(self, pixel_values: Tensor) -> Tensor:
        """Images (b, c, h, w) as sequences (b, h·w, input_size) in the model's pixel order.

        An image processor may turn a grey image into three equal channels; a grey model reads their mean.
        """
        config = self.config
        # Bytes from 0 to 255 would be read without the processor's scaling.
        if not pixel_values.is_floating_point():
            raise TypeError(
                f"pixel_values must be floating point, as an image processor leaves them, got {pixel_values.dtype}"
            )
        if pixel_values.ndim != 4 or tuple(pixel_values.shape[2:]) != (config.image_size, config.image_size):
            raise ValueError(
                f"pixel_values must be (batch, channels, {config.image_size}, {config.image_size}), got "
                f"{tuple(pixel_values.shape)}"
            )
        check_finite("pixel_values", pixel_values, IMAGES, remedy="every pixel must be a number")
        if config.input_size == 1 and pixel_values.shape[1] == 3:
            pixel_values = pixel_values.mean(1, keepdim=True)
        if pixel_values.shape[1] != config.input_size:
            raise ValueError(
                f"pixel_values must have input_size={config.input_size} channels, got {pixel_values.shape[1]}"
            )
        # (b, c, h·w) to (b, h·w, c): raster order is row by row.
        return pixel_values.flatten(2).transpose(1, 2).index_select(1, self.permutation)

    @can_return_tuple
    def forward(
        self,
        pixel_values: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        num_items_in_batch: Items = None,
        **kwargs,
    ) -> ImageClassifierOutput:
        """Classify images.

        Args:
            pixel_values: (b, c, image_size, image_size).
            labels: (b,) class ids; −100 where there is nothing to learn.
            num_items_in_batch: how many labels the loss is a mean over, if not over those given here.

        Raises:
            TypeError: bytes are given, or what is no tensor.
            ValueError: there are no images, or they or their labels have a wrong shape or values.
        """
        refuse_packing(kwargs)
        refuse_caches(kwargs)
        check_tensors(pixel_values=pixel_values)
        if pixel_values is None:
            raise ValueError("pixel_values (batch, channels, height, width) must be given")
        sequence = self.pixel_sequence(pixel_values)
        ranks = current_ranks()
        # Every rank is given the whole image, where other heads are given their part.
        sequence = sequence if ranks is None else ranks.cut(sequence)
        pooled, outputs = self.pool(input_values=sequence, output_hidden_states=output_hidden_states, use_cache=False)
        logits = self.classifier(pooled)
        loss = self.loss(labels, logits, num_items_in_batch=num_items_in_batch)
        return ImageClassifierOutput(loss=loss, logits=self.in_units(logits), hidden_states=outputs.hidden_states)
