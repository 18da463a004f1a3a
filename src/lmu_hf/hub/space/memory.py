"""A signal that you draw, and the window of it that a memory holds."""

import json
from collections.abc import Iterator

import numpy as np

from .background import window_process
from .inputs import drawn_signal, number, whole
from .pad import ink_of, signal_pad
from .page import gr, with_notes

STEPS = 600  # of the drawn signal
DRAWING, BRUSH = (1200, 232), 4  # pixels that a drawing is read on
THETA, ORDER = (20, 400), (1, 64)  # from, to
BEGIN = (None, 200, 32, 400)  # drawing, θ, order, moment: an order that holds the sample signal
FRAMES = 24  # of a run
EXPLAINED = (
    "Draw a line, or keep this one. A memory reads it step by step and keeps **order** numbers, from which the red "
    "line is redrawn: a larger **θ** reaches further back, and a larger **order** keeps more detail."
)


def shown_at(drawing: str | None, theta: float, order: int, moment: int) -> tuple[str, str]:
    """What the pad shows, as JSON, and the error in words.

    Raises:
        ValueError: that is no drawing, or a number is outside its limits.
    """
    # The sliders keep to these limits, a call of the API need not.
    theta, order = number(theta, "θ", *THETA), whole(order, "Order", *ORDER)
    moment = whole(moment, "Moment", 1, STEPS - 1)
    signal = drawn_signal(ink_of(drawing, *DRAWING, BRUSH), STEPS)
    window = window_process().remembered(signal.tolist(), theta, order, moment)
    decoded = np.clip(window.decoded[::-1], -3, 3)  # from the oldest on; what leaves the picture need not be sent
    shown = {
        "signal": signal.round(3).tolist(),
        "decoded": decoded.round(3).tolist(),
        "begin": window.times[-1],
        "moment": moment,
    }
    held = f"{order} numbers hold the last {theta:g} steps"
    return json.dumps(shown), f"{held}, with an error of **{window.error:.1%}** of the signal's standard deviation."


def tab() -> None:
    """The tab."""
    shown, said = shown_at(*BEGIN)  # the page opens on it
    gr.Markdown(EXPLAINED)
    pad = signal_pad(shown, elem_id="memory-pad")
    error = gr.Markdown(said, elem_id="memory-error")
    with gr.Row():
        theta = gr.Slider(*THETA, BEGIN[1], step=10, label="θ: window, in steps", elem_id="memory-theta")
        order = gr.Slider(*ORDER, BEGIN[2], step=1, label="Order: numbers kept", elem_id="memory-order")
        moment = gr.Slider(1, STEPS - 1, BEGIN[3], step=1, label="Moment: step just read", elem_id="memory-moment")
    button = gr.Button("Let it run", variant="primary", elem_id="memory-play")

    @with_notes
    def look(drawing: str | None, theta: float, order: int, moment: int) -> Iterator[tuple[gr.HTML, str]]:
        shown, said = shown_at(drawing, theta, order, moment)
        yield gr.HTML(shown=shown), said

    @with_notes
    def play(drawing: str | None, theta: float, order: int) -> Iterator[tuple[gr.HTML, str, int]]:
        for at in np.linspace(number(theta, "θ", *THETA) / 2, STEPS - 1, FRAMES).astype(int):
            shown, said = shown_at(drawing, theta, order, int(at))
            yield gr.HTML(shown=shown), said, int(at)

    inputs, outputs = [pad, theta, order, moment], [pad, error]
    # `input`, not `change`: `play` moves the slider of the moment too, and must not set off `look`.
    # While an answer is made, always_last keeps the newest move and drops those before it.
    for slider in (theta, order, moment):
        slider.input(look, inputs, outputs, show_progress="hidden", trigger_mode="always_last")
    button.click(play, [pad, theta, order], [*outputs, moment], show_progress="hidden")
    pad.change(look, inputs, outputs, show_progress="hidden", trigger_mode="always_last")
