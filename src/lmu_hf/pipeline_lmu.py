"""``pipeline("lmu-translation")``: text in, translation out. Transformers itself has no translation pipeline any more.

Registered by ``import lmu_hf``. Saved with a model, this file goes along, so that ``trust_remote_code=True`` is all
that another machine needs.
"""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor
from transformers import GenerationConfig, Pipeline

logger = logging.getLogger(__name__)


class LMUTranslationPipeline(Pipeline):
    """Translates texts with an encoder–decoder.

    ``pipe("text")`` gives ``[{"translation_text": "…"}]``: one dict, or ``num_return_sequences`` of them, the best
    first. A list of texts gives a list of such lists, in order; a generator or a data set gives them one by one.

    Every call, and the pipeline itself, takes these and whatever ``generate`` takes (``num_beams``, …); a translation
    ends after 256 tokens where neither the call nor the model's generation config says otherwise.

    Args:
        max_source_length: cut a text to so many tokens. A cut is told as a warning.
        truncation: cut a text to the tokenizer's ``model_max_length``. Without either, a text is read whole.
        return_tensors: return ``"translation_token_ids"``.
        return_text: return ``"translation_text"`` (default: unless ``return_tensors``).
        clean_up_tokenization_spaces: as the tokenizer's ``decode`` takes it.
        batch_size: how many texts are translated at a time. Their padding changes nothing but the time that it takes.

    Raises:
        TypeError: the model is no encoder–decoder, or a text is not a str.
        ValueError: a text is empty or holds a lone surrogate, or nothing is to be returned.
    """

    # The base class annotates these as None, or as possibly None.
    model: Any
    tokenizer: Any
    _load_processor: Any = False
    _load_image_processor: Any = False
    _load_video_processor: Any = False
    _load_feature_extractor: Any = False
    _load_tokenizer: Any = True
    _pipeline_calls_generate = True
    _default_generation_config = GenerationConfig(max_new_tokens=256)  # transformers would end after 20

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if not self.model.config.is_encoder_decoder:
            raise TypeError(f"lmu-translation needs an encoder-decoder, got {type(self.model).__name__}")

    def _sanitize_parameters(
        self,
        max_source_length: int | None = None,
        truncation: bool | None = None,
        return_tensors: bool | None = None,
        return_text: bool | None = None,
        clean_up_tokenization_spaces: bool | None = None,
        **generate_kwargs,
    ) -> tuple[dict, dict, dict]:
        reading = {"max_source_length": max_source_length, "truncation": truncation}
        writing = {
            "return_tensors": return_tensors,
            "return_text": return_text,
            "clean_up_tokenization_spaces": clean_up_tokenization_spaces,
        }
        if return_text is False and not return_tensors:
            raise ValueError("return_text=False needs return_tensors=True: there would be nothing to return")
        # Left out where they are not given: a call's None would replace what the pipeline was made with.
        given = ({name: value for name, value in part.items() if value is not None} for part in (reading, writing))
        before, after = given
        return before, generate_kwargs, after

    def __call__(self, inputs: str | Iterable[str], *args, **kwargs) -> Any:
        """Translate; see the class."""
        if isinstance(inputs, Sequence) and not isinstance(inputs, str | bytes):  # a column of a data set, too
            inputs = list(inputs)
            for place, text in enumerate(inputs):
                _check(text, f"text {place}")
            if not inputs:
                return []
        return super().__call__(inputs, *args, **kwargs)

    def preprocess(  # type: ignore[override]  # the base class takes any parameters, and calls them dicts
        self, text: str, max_source_length: int | None = None, truncation: bool = False
    ) -> dict[str, Tensor]:
        """Token ids (1, n), and the mask for the padding that a batch will bring."""
        _check(text, "the text")
        limit = self.tokenizer.model_max_length if truncation and max_source_length is None else max_source_length
        how = {"return_tensors": "pt", "return_token_type_ids": False, "return_attention_mask": True}
        # verbose=False: a text beyond model_max_length is no fault, as a memory reads it all the same.
        encoded = self.tokenizer(text, verbose=False, **how)
        if limit is not None and (n := encoded["input_ids"].shape[1]) > limit:
            logger.warning(f"A text of {n} tokens was cut to {limit}: {text[:40]!r} …")
            encoded = self.tokenizer(text, truncation=True, max_length=limit, **how)
        return {name: encoded[name] for name in ("input_ids", "attention_mask")}

    def _forward(self, input_tensors: dict[str, Any], **generate_kwargs) -> Any:
        made = self.model.generate(**input_tensors, **self._prepare_generate_kwargs(generate_kwargs))
        ids = made if isinstance(made, Tensor) else made.sequences  # else return_dict_in_generate
        # From (texts · num_return_sequences, n): translations of one text stand together.
        return {"output_ids": ids.unflatten(0, (input_tensors["input_ids"].shape[0], -1))}

    def postprocess(  # type: ignore[override]  # likewise
        self,
        model_outputs: dict[str, Tensor],
        return_tensors: bool = False,
        return_text: bool | None = None,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> list[dict[str, str | Tensor]]:
        """One dict for each of a text's translations, the best first."""
        records: list[dict[str, str | Tensor]] = []
        for ids in model_outputs["output_ids"][0]:  # a batch of one text
            record: dict[str, str | Tensor] = {"translation_token_ids": ids} if return_tensors else {}
            if return_text or (return_text is None and not return_tensors):
                record["translation_text"] = self.tokenizer.decode(
                    ids, skip_special_tokens=True, clean_up_tokenization_spaces=clean_up_tokenization_spaces
                )
            records.append(record)
        return records


def _check(text: object, name: str) -> None:
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a str, got {type(text).__name__}")
    if not text.strip():
        raise ValueError(f"{name} is empty: there is nothing to translate")
    # Half of a pair of code units, as a cut JSON string leaves it, has no bytes that a tokenizer could read.
    if half := next((letter for letter in text if "\ud800" <= letter <= "\udfff"), None):
        raise ValueError(f"{name} holds the lone surrogate {half!r}, which is no character")
