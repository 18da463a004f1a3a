"""Sound, read frame by frame: which class is it? And the same while it is still sounding."""

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils import can_return_tuple

from .cache_lmu import refuse_caches
from .configuration_lmu import LMUConfig
from .frames_lmu import Frames
from .heads_lmu import LMUPooledModel, given_input
from .listening_lmu import Heard, Listener
from .losses import Items


class LMUForAudioClassification(LMUPooledModel):
    """A class, several classes or a number for a sound that is read frame by frame.

    ``config.audio`` says what a frame is: the record of :class:`Frames`, that of the feature extractor which lies
    beside the model. Without it the model classifies frames, but cannot :meth:`listen`.

    Raises:
        ValueError: the config reads no signal, or frames of another size than its ``audio`` has.
    """

    loaded_by = "AutoModelForAudioClassification"
    main_input_name = "input_values"
    input_modalities = ["audio"]

    def __init__(self, config: LMUConfig) -> None:
        super().__init__(config)
        if config.input_size is None:
            raise ValueError("an audio classifier reads frames of a sound: set input_size, got None")
        frames = Frames.of(config)
        if frames is not None and frames.size != config.input_size:
            raise ValueError(
                f"audio makes frames of {frames.size} numbers, so input_size must be {frames.size}, got "
                f"{config.input_size}"
            )
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        num_items_in_batch: Items = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """Classify sounds.

        Of sounds packed in rows, each has its own logits, in their order: b below counts sounds.

        Args:
            input_values: (b, n, input_size), or (b, n) if ``input_size`` is 1: frames, as the feature extractor makes
                them.
            attention_mask: (b, n), zero where a frame does not exist.
            position_ids: (b, n), of several sounds packed in a row: one starts at every 0.
            labels: (b,) class ids, (b,) or (b, num_labels) numbers for regression, or (b, num_labels) 0/1 floats; −100
                where there is nothing to learn.
            output_hidden_states: also return what entered the first block and what left each.
            num_items_in_batch: how many labels the loss is a mean over, if not over those given here.

        Raises:
            TypeError: an input is no tensor, or a cache is given.
            ValueError: an input or a label has a wrong shape or value, or a sound has no frame.
        """
        refuse_caches(kwargs)
        inputs = {"input_values": input_values}
        layout = self.find_layout(given_input(**inputs), attention_mask, position_ids, None, **kwargs)
        pooled, outputs = self.pool(layout=layout, **inputs, output_hidden_states=output_hidden_states, use_cache=False)
        logits = self.classifier(pooled)
        loss = self.loss(labels, logits, num_items_in_batch=num_items_in_batch)
        return SequenceClassifierOutput(loss=loss, logits=self.in_units(logits), hidden_states=outputs.hidden_states)

    def listen(self, chunks: Iterable[Any], sampling_rate: int | None = None) -> Iterator[Heard]:
        """Classify a sound while it comes in, in pieces of any size.

        After the last piece the logits are those of the whole sound. Between pieces there is a fixed number of bytes,
        however long the sound: :attr:`Listener.state_bytes`.

        Args:
            chunks: pieces (samples,) of one mono signal: floats in [−1, 1] or integers, as arrays or tensors.
            sampling_rate: of the pieces, in samples a second; if given, it must be the model's.

        Yields:
            :class:`Heard` after every piece that ends a frame. A sound that is shorter than a frame gives one, at its
            end.

        Raises:
            ValueError: the model reads backwards, its config has no ``audio``, the rate is another, or a piece is not
                mono or not finite.
        """
        return Listener(self, sampling_rate).hear_all(chunks)
