"""Digits drawn with a finger, classified as their pixels stream in."""

import time
from collections.abc import Iterator

import numpy as np
from PIL import Image

from .models import TabModel
from .pad import ink_of, sketchpad
from .page import gr, with_notes

CANVAS, BRUSH = 280, 24  # pixels: a side, and a width
FRAME_SECONDS = 0.03  # all looks are computed at once, faster than eyes can follow
EXPLAINED = (
    "Draw a digit from 0 to 9. The model reads the drawing **one pixel at a time, in a fixed random order**, and the "
    "second picture shows what it has read."
)


def tab(chosen: TabModel) -> None:
    """The tab."""

    @with_notes
    def read(drawing: str | None) -> Iterator[tuple[dict[str, float], np.ndarray, str]]:
        from .readings import digit_image, read_digit

        ink = ink_of(drawing, CANVAS, CANVAS, BRUSH)
        model, processor = chosen.load()
        image = digit_image(ink, model.config.image_size)
        for reading in read_digit(model, processor, image):
            # NEAREST keeps each pixel of the image a square of one colour.
            picture = Image.fromarray(reading.picture).resize((CANVAS, CANVAS), Image.Resampling.NEAREST)
            yield reading.chances, np.asarray(picture), f"{reading.pixels} of {model.config.image_size**2} pixels read"
            time.sleep(FRAME_SECONDS)

    gr.Markdown(EXPLAINED)
    with gr.Row():
        with gr.Column(min_width=CANVAS):
            pad = sketchpad(CANVAS, BRUSH, elem_id="digit-pad")
            button = gr.Button("Read it", variant="primary", elem_id="digit-read")
        with gr.Column(min_width=CANVAS):
            seen = gr.Image(show_label=False, height=CANVAS, interactive=False, buttons=[], elem_id="digit-seen")
            count = gr.Markdown("Nothing has been read yet.", elem_id="digit-count")
        with gr.Column(min_width=CANVAS):
            guess = gr.Label(num_top_classes=4, label="It is a", elem_id="digit-guess")
    button.click(read, pad, [guess, seen, count], show_progress="hidden")
