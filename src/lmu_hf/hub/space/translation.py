"""A translation, and where each of its tokens looked."""

from collections.abc import Iterator, Sequence
from html import escape

import numpy as np

from .models import TabModel
from .page import gr, with_notes

# A caption of a photo, as the model in the box has read; sentences of other kinds it does not know.
EXAMPLE = "A man in a blue shirt is playing a guitar."


def attention_table(source: Sequence[str], target: Sequence[str], weights: np.ndarray) -> str:
    """Weights (target, source) as a table of cells, the fuller the larger the weight."""
    head = "".join(f"<th>{escape(token)}</th>" for token in source)
    rows = [
        f"<tr><th>{escape(token)}</th>"
        + "".join(
            f'<td title="{weight:.2f}" style="background: color-mix(in srgb, var(--lmu-accent) {weight:.0%}, '
            'transparent)"></td>'
            for weight in line
        )
        + "</tr>"
        for token, line in zip(target, weights.clip(0, 1), strict=True)
    ]
    return (
        f'<div class="lmu-scroll"><table class="lmu-attention"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def tab(chosen: TabModel) -> None:
    """The tab."""
    given, wanted = chosen.languages or ("the model's first language", "its second")

    @with_notes
    def read(text: str) -> Iterator[tuple[str, str]]:
        from .readings import translate

        made = translate(*chosen.load(), text)
        yield made.text, attention_table(made.source, made.target, made.weights)

    gr.Markdown(
        f"From **{given}** to **{wanted}**. The table shows how much each token of the translation (down) looked at "
        "each token of the text (across)."
    )
    text = gr.Textbox(EXAMPLE, label=given, elem_id="translation-text")
    button = gr.Button("Translate", variant="primary", elem_id="translation-go")
    output = gr.Textbox(label=wanted, interactive=False, elem_id="translation-output")
    attention = gr.HTML(elem_id="translation-attention")
    for event in (button.click, text.submit):
        event(read, text, [output, attention], show_progress="hidden")
