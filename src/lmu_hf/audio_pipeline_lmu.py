"""``pipeline("audio-classification")`` that reads files by soundfile where transformers' own would call ffmpeg.

Registered by ``import lmu_hf``. Models of other families are served as before.
"""

from typing import Any

from torch import Tensor
from transformers import AudioClassificationPipeline

from .feature_extraction_lmu import LMUFeatureExtractor


class LMUAudioClassificationPipeline(AudioClassificationPipeline):
    """Classifies sounds: a path, the bytes of a file, an array, or a dictionary with a rate of its own.

    With an :class:`LMUFeatureExtractor` all of these are opened, mixed down and resampled by it, so that neither ffmpeg
    nor torchaudio is needed; an address on the web, and every sound for another family's model, is read as
    transformers reads it.
    """

    feature_extractor: Any  # the base class annotates it as possibly None

    def preprocess(self, inputs: Any) -> Any:  # type: ignore[override]  # the base class takes any parameters
        """One sound to what its model reads."""
        extractor = self.feature_extractor
        if not isinstance(extractor, LMUFeatureExtractor) or _is_address(inputs):
            return super().preprocess(inputs)
        sound = inputs.cpu().numpy() if isinstance(inputs, Tensor) else inputs
        processed = extractor(extractor.signal(sound), return_tensors="pt")
        return processed if self.dtype is None else processed.to(dtype=self.dtype)


def _is_address(given: Any) -> bool:
    return isinstance(given, str) and given.startswith(("http://", "https://"))
