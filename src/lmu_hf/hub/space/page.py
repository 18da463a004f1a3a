"""What all tabs share: gradio, imported quickly, and the one line that a visitor gets for an input that will not do."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any
from unittest import mock


@contextmanager
def _without_stub_files() -> Iterator[None]:
    """Let gradio take its components for classes without a file: it then writes no ``.pyi`` for editors.

    Each import of gradio parses the source of all its components for these files, which takes half of its time.
    """
    file_of = inspect.getfile

    def getfile(thing: Any) -> str:
        if isinstance(thing, type) and thing.__module__.startswith("gradio."):
            raise OSError("no file")
        return file_of(thing)

    with mock.patch.object(inspect, "getfile", getfile):
        yield


with _without_stub_files():
    import gradio as gr

__all__ = ["CSS", "THEME", "gr", "with_notes"]

NOTE_SECONDS = 6.0
# Bold and not semi-bold: gradio 6.31 carries a semi-bold of this font that has few letters.
FONT = gr.themes.LocalFont("Source Sans Pro", weights=(400, 700))
THEME = gr.themes.Default(font=[FONT, "ui-sans-serif", "system-ui", "sans-serif"])
# Gradio's variables change with its dark mode; what we draw takes its colours from here.
CSS = """
.gradio-container { --lmu-accent: #c2334d; --lmu-good: 22, 163, 74; --lmu-bad: 220, 38, 38; }
.dark { --lmu-accent: #ff7b92; }
#memory-pad .html-container, #digit-pad .html-container { padding: 0; }
.lmu-scroll { overflow-x: auto; }
.lmu-words { line-height: 2.1; }
.lmu-words span { border-radius: 4px; padding: 2px 4px; }
.lmu-attention { border-collapse: collapse; font-size: 13px; }
.lmu-attention th { font-weight: 400; padding: 2px 6px; text-align: right; }
.lmu-attention thead th { text-align: center; }
.lmu-attention, .lmu-attention thead, .lmu-attention tr, .lmu-attention th { border: 0 !important; }
.lmu-attention td { min-width: 26px; height: 24px; border: 1px solid var(--border-color-primary); }
.lmu-lines svg { width: 100%; height: 180px; display: block; overflow: visible;
  border-left: 1px solid var(--body-text-color-subdued); border-bottom: 1px solid var(--body-text-color-subdued); }
.lmu-lines polyline { fill: none; stroke-width: 2px; vector-effect: non-scaling-stroke; }
.lmu-lines div { display: flex; justify-content: space-between; font-size: 13px; }
.lmu-lines div:last-child { justify-content: flex-start; gap: 16px; font-weight: 600; }
@media (max-width: 500px) { .gradio-container { padding: 8px !important; } .gradio-container h1 { font-size: 22px; } }
"""


def with_notes(answer: Callable[..., Iterator]) -> Callable[..., Iterator]:
    """What answers a visitor, with a passing note where an input is not one."""

    @wraps(answer)
    def noted(*inputs: Any) -> Iterator:
        try:
            yield from answer(*inputs)
        except ValueError as error:
            # Of any other exception the page says nothing but that there was one.
            raise gr.Error(" ".join(str(error).split()), duration=NOTE_SECONDS, print_exception=False) from error

    return noted
