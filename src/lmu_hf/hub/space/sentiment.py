"""The running verdict behind each part of a text."""

from collections.abc import Iterator
from html import escape

from .inputs import CHARACTERS
from .models import TabModel
from .page import gr, with_notes

EXAMPLES = [
    "An absolute masterpiece, moving from start to finish.",
    "This movie was the worst thing I have seen in years.",
    "I wanted to like it, and for half an hour I did, but then nothing that follows makes any sense.",
    "Although the story is dull, the acting is wonderful.",
]
EXPLAINED = (
    "Write a review in English. Each part is coloured by the verdict on everything **up to its end**: green for "
    "positive, red for negative."
)


def coloured(parts: list[tuple[str, float]]) -> str:
    """Parts of a text as HTML, green where the score is near 1 and red where it is near −1."""
    spans = [
        f'<span title="{score:+.2f}" style="background: rgba(var(--lmu-{"good" if score > 0 else "bad"}), '
        f'{0.75 * abs(score):.2f})">{escape(part)}</span>'
        for part, score in parts
    ]
    return f'<div class="lmu-words">{" ".join(spans)}</div>'


def tab(chosen: TabModel) -> None:
    """The tab."""

    @with_notes
    def read(text: str) -> Iterator[tuple[str, dict[str, float]]]:
        from .readings import read_sentence

        parts, verdict = read_sentence(*chosen.load(), text)
        yield coloured(parts), verdict

    gr.Markdown(EXPLAINED)
    text = gr.Textbox(EXAMPLES[0], label=f"Text, up to {CHARACTERS:,} characters", lines=3, elem_id="sentiment-text")
    gr.Examples([[example] for example in EXAMPLES], text, label="Or one of these")
    button = gr.Button("Read it", variant="primary", elem_id="sentiment-read")
    with gr.Row():
        with gr.Column(min_width=280):
            words = gr.HTML(
                label="As it is read", show_label=True, container=True, padding=True, elem_id="sentiment-words"
            )
        with gr.Column(min_width=280):
            verdict = gr.Label(label="At the end", elem_id="sentiment-verdict")
    for event in (button.click, text.submit):
        event(read, text, [words, verdict], show_progress="hidden")
