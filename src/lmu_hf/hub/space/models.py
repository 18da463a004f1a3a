"""Which model a tab shows, and how it is loaded: in the background, or when a visitor first asks for it."""

import json
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

from ...shipped import manifest, pretrained

# Tab → the model in the box, and the Auto classes of the model and of what reads its input.
TABS = {
    "digits": ("lmu-psmnist", "AutoModelForImageClassification", "AutoImageProcessor"),
    "sentiment": ("lmu-imdb", "AutoModelForSequenceClassification", "AutoTokenizer"),
    "text": ("lmu-python-sources", "AutoModelForCausalLM", "AutoTokenizer"),
    "translation": ("lmu-multi30k-en-de", "AutoModelForSeq2SeqLM", "AutoTokenizer"),
    "sound": ("lmu-spoken-digits", "AutoModelForAudioClassification", "AutoFeatureExtractor"),
}

# One model at a time, whoever asks, since transformers patches torch while it loads: of two at once, weights of one
# may stay on the meta device.
LOADING = Lock()


class TabModel:
    """A tab's model, loaded once.

    Args:
        tab: such as ``"digits"``.
        name: folder or Hub name.

    Raises:
        ValueError: there is no tab of that name.
    """

    def __init__(self, tab: str, name: str) -> None:
        if tab not in TABS:
            raise ValueError(f"there are tabs {', '.join(TABS)}, none called {tab!r}")
        self.name = name
        _, self._model_class, self._reader_class = TABS[tab]
        self._loaded: tuple[Any, Any] | None = None

    def load(self) -> tuple[Any, Any]:
        """The model, in evaluation mode, and its tokenizer or processor."""
        with LOADING:
            if self._loaded is None:
                # Here, since importing transformers takes longer than a page may take to open.
                import transformers

                from ... import auto_lmu  # noqa: F401  # makes the family known to the Auto classes

                model = getattr(transformers, self._model_class).from_pretrained(self.name).eval()
                self._loaded = model, getattr(transformers, self._reader_class).from_pretrained(self.name)
            return self._loaded

    @cached_property
    def languages(self) -> tuple[str, str] | None:
        """The names of the languages that a translator reads and writes, where its run's record says them."""
        record = Path(self.name).parent / "run.json"
        if not record.is_file():
            return None
        codes = json.loads(record.read_text(encoding="utf-8"))["data"].get("languages")
        return None if codes is None else (language_name(codes[0]), language_name(codes[1]))


def language_name(code: str) -> str:
    """The English name of a language: ``"German"`` for ``"de"``; the code itself where Babel does not know it."""
    from babel import Locale, UnknownLocaleError

    try:
        return Locale.parse(code.replace("-", "_")).get_display_name("en") or code
    except (UnknownLocaleError, ValueError):
        return code


def in_the_box() -> dict[str, str]:
    """Tab → folder, of the tabs whose model came with the package."""
    return {tab: pretrained(name) for tab, (name, *_) in TABS.items() if name in manifest()}
