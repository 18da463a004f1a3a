"""A tab for each head of the family, and one for the memory itself. `make space` runs it; a Hub Space runs this file.

Models are named by LMU_SPACE_MODELS, a JSON object of tab → folder or Hub name, for the tabs "digits", "sentiment",
"text" and "translation"; a tab without a model is left out. The memory needs none.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import gradio as gr
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

import lmu_hf  # noqa: F401  # makes the family known to the Auto classes
from lmu_hf.common.figures import ACCENT, FAINT, STYLE
from lmu_hf.hub.space.inputs import number, whole
from lmu_hf.hub.space.pad import ink_of, sketchpad
from lmu_hf.hub.space.readings import (
    digit_image,
    drawn_signal,
    read_digit,
    read_sentence,
    remembered,
    translate,
    write_on,
)

STEPS = 600  # of the drawn signal
CANVAS, DIGIT_BRUSH = 280, 22  # pixels: a side, and a width
SIGNAL, SIGNAL_BRUSH = (940, 160), 5
THETA, ORDER = (20, 400), (1, 64)  # from, to


def with_notes(answer: Callable[..., Iterator]) -> Callable[..., Iterator]:
    """What answers a visitor, with a passing note where an input is not one."""

    @wraps(answer)
    def noted(*inputs: Any) -> Iterator:
        try:
            yield from answer(*inputs)
        except ValueError as error:
            # Of any other exception the page says nothing but that there was one.
            raise gr.Error(str(error), duration=3, print_exception=False) from error

    return noted


def digits_tab(name: str) -> None:
    """Digits drawn with the mouse, classified as their pixels stream in."""
    model = AutoModelForImageClassification.from_pretrained(name).eval()
    processor = AutoImageProcessor.from_pretrained(name)

    @with_notes
    def read(drawing: str | None) -> Iterator[tuple[dict[str, float], np.ndarray, str]]:
        image = digit_image(ink_of(drawing, CANVAS, CANVAS, DIGIT_BRUSH), model.config.image_size)
        for reading in read_digit(model, processor, image):
            # NEAREST keeps each pixel of the image a square of one colour.
            picture = Image.fromarray(reading.picture).resize((CANVAS, CANVAS), Image.Resampling.NEAREST)
            yield reading.chances, np.asarray(picture), f"{reading.pixels} of {model.config.image_size**2} pixels read"
            time.sleep(0.03)  # seconds: all looks are computed at once, faster than eyes can follow

    gr.Markdown(
        "Draw a digit from 0 to 9. It is read **one pixel at a time, in a fixed random order**; what you see on the "
        "right is all that the network has been shown."
    )
    with gr.Row():
        with gr.Column():
            pad = sketchpad(CANVAS, CANVAS, DIGIT_BRUSH, elem_id="digit-pad")
            button = gr.Button("Read it", variant="primary", elem_id="digit-read")
        with gr.Column():
            seen = gr.Image(label="Read so far", height=CANVAS, interactive=False)
            count = gr.Markdown(elem_id="digit-count")
        guess = gr.Label(num_top_classes=4, label="It is a", elem_id="digit-guess")
    button.click(read, pad, [guess, seen, count], show_progress="hidden")


def sentiment_tab(name: str) -> None:
    """The running score behind each word."""
    model = AutoModelForSequenceClassification.from_pretrained(name).eval()
    tokenizer = AutoTokenizer.from_pretrained(name)

    @with_notes
    def read(text: str) -> Iterator[tuple[list[tuple[str, float]], dict[str, float]]]:
        yield read_sentence(model, tokenizer, text)  # yielded, since with_notes wraps generators

    # Scores run from −1, the first class, to 1, the last.
    low, high = (model.config.id2label[number] for number in (0, model.config.num_labels - 1))
    gr.Markdown(f"Each word is coloured by the verdict on everything **up to it**: violet for {low}, red for {high}.")
    text = gr.Textbox("although the story is dull, the acting is wonderful", label="Text", elem_id="sentiment-text")
    button = gr.Button("Read it", variant="primary", elem_id="sentiment-read")
    words = gr.HighlightedText(label="Word by word", elem_id="sentiment-words", show_legend=True)
    verdict = gr.Label(label="At the end", elem_id="sentiment-verdict")
    for event in (button.click, text.submit):
        event(read, text, [words, verdict], show_progress="hidden")


def text_tab(name: str) -> None:
    """Text that is written on, token by token."""
    model: Any = AutoModelForCausalLM.from_pretrained(name).eval()
    tokenizer = AutoTokenizer.from_pretrained(name)

    @with_notes
    def write(prompt: str, tokens: int, temperature: float, seed: int) -> Iterator[tuple[str, str]]:
        # A page's numbers are doubles, which hold whole numbers up to 2**53.
        tokens, seed = whole(tokens, "Tokens", 1, 1000), whole(seed, "Seed", 0, 2**53)
        temperature = number(temperature, "Temperature", 0, 1.5)
        start, state = time.perf_counter(), f"carrying {model.config.state_size:,} numbers"
        made, text = 0, prompt  # what stays if the model ends at once
        for made, text in enumerate(write_on(model, tokenizer, prompt, tokens, temperature, seed), 1):
            # Not every token is sent, to spare the page; the last one always is.
            if made % 4 == 0:
                yield text, f"{made / (time.perf_counter() - start):,.0f} tokens a second, {state}"
        yield text, f"{made / (time.perf_counter() - start):,.0f} tokens a second, {state}"

    gr.Markdown("The model goes on from your text, carrying nothing but its memories, however long the text becomes.")
    with gr.Row():
        prompt = gr.Textbox("def read(self, ", label="Begin with", lines=2, elem_id="text-prompt")
        with gr.Column():
            tokens = gr.Slider(20, 1000, 300, step=10, label="Tokens")
            temperature = gr.Slider(0, 1.5, 0.6, step=0.1, label="Temperature")
            seed = gr.Number(0, label="Seed", precision=0)
    button = gr.Button("Write", variant="primary", elem_id="text-write")
    output = gr.Code(label="Text", language="python", lines=14, elem_id="text-output")
    speed = gr.Markdown(elem_id="text-speed")
    button.click(write, [prompt, tokens, temperature, seed], [output, speed], show_progress="hidden")


def translation_tab(name: str) -> None:
    """A translation, and where each of its tokens looked."""
    model = AutoModelForSeq2SeqLM.from_pretrained(name).eval()
    tokenizer = AutoTokenizer.from_pretrained(name)

    @with_notes
    def read(text: str) -> Iterator[tuple[str, Any]]:
        made = translate(model, tokenizer, text)
        yield made.text, None  # a picture takes longer to draw than a sentence to translate
        with plt.rc_context(STYLE):
            figure, axis = plt.subplots(figsize=(7, 0.9 + 0.3 * len(made.target)))
            axis.imshow(made.weights, cmap="Blues", vmin=0, aspect="auto")
            axis.set_xticks(range(len(made.source)), made.source, rotation=45, ha="left")
            axis.set_yticks(range(len(made.target)), made.target)
            axis.xaxis.tick_top()
            figure.tight_layout()
        # Pyplot keeps every figure until it is closed; Gradio has its own reference.
        plt.close(figure)
        yield made.text, figure

    gr.Markdown("Below the translation: how much each of its tokens (down) looked at each token of the text (across).")
    text = gr.Textbox("Friday, March 5, 2021", label="Text", elem_id="translation-text")
    button = gr.Button("Translate", variant="primary", elem_id="translation-go")
    output = gr.Textbox(label="Translation", interactive=False, elem_id="translation-output")
    attention = gr.Plot(show_label=False, elem_id="translation-attention")
    for event in (button.click, text.submit):
        event(read, text, [output, attention], show_progress="hidden")


def memory_tab() -> None:
    """A signal that you draw, and the window of it that a memory holds."""

    def draw(drawing: str | None, theta: float, order: int, moment: int) -> tuple[Any, str]:
        # The sliders keep to these limits, a call of the API need not.
        theta, order = number(theta, "θ", *THETA), whole(order, "Order", *ORDER)
        moment = whole(moment, "Moment", 1, STEPS - 1)
        signal = drawn_signal(ink_of(drawing, *SIGNAL, SIGNAL_BRUSH), STEPS)
        window = remembered(signal, theta, order, moment)
        with plt.rc_context(STYLE):
            figure, axis = plt.subplots(figsize=(9, 3.2))
            axis.plot(signal, color=FAINT, linewidth=1.2, label="signal")
            axis.axvspan(moment - theta, moment, color=ACCENT, alpha=0.08, linewidth=0)
            axis.plot(window.times, window.decoded, color=ACCENT, linewidth=1.8, label=f"from {order} numbers")
            axis.set(xlim=(0, STEPS), ylim=(-1.3, 1.3), xlabel="time step")
            axis.legend(loc="upper right", frameon=False, ncols=2)
            figure.tight_layout()
        plt.close(figure)
        return figure, f"error inside the window: **{window.error:.1%}** of the signal's deviation"

    @with_notes
    def look(drawing: str | None, theta: float, order: int, moment: int) -> Iterator[tuple[Any, str]]:
        yield draw(drawing, theta, order, moment)

    @with_notes
    def play(drawing: str | None, theta: float, order: int) -> Iterator[tuple[Any, str, int]]:
        for moment in np.linspace(number(theta, "θ", *THETA) / 2, STEPS - 1, 24).astype(int):
            yield *draw(drawing, theta, order, int(moment)), int(moment)

    gr.Markdown(
        "Draw a line from left to right (or leave the sample). A memory of the chosen **order** reads it step by step; "
        "the line inside the shaded **window of θ steps** is decoded from those few numbers alone."
    )
    pad = sketchpad(*SIGNAL, SIGNAL_BRUSH, elem_id="memory-pad")
    with gr.Row():
        theta = gr.Slider(*THETA, 200, step=10, label="θ, steps", elem_id="memory-theta")
        order = gr.Slider(*ORDER, 16, step=1, label="Order", elem_id="memory-order")
        moment = gr.Slider(1, STEPS - 1, 400, step=1, label="Moment", elem_id="memory-moment")
        button = gr.Button("Let it run", variant="primary", elem_id="memory-play")
    # The page opens with the sample signal instead of an empty plot.
    begun = draw(None, theta.value, order.value, moment.value)
    plot = gr.Plot(begun[0], show_label=False, elem_id="memory-plot")
    error = gr.Markdown(begun[1], elem_id="memory-error")
    inputs, outputs = [pad, theta, order, moment], [plot, error]
    # `input`, not `change`: `play` moves the slider of the moment too, and must not set off `look`.
    # While an answer is made, always_last keeps the newest move and drops those before it.
    for slider in (theta, order, moment):
        slider.input(look, inputs, outputs, show_progress="hidden", trigger_mode="always_last")
    button.click(play, [pad, theta, order], [*outputs, moment], show_progress="hidden")
    pad.change(look, inputs, outputs, show_progress="hidden", trigger_mode="always_last")


TABS = {"digits": digits_tab, "sentiment": sentiment_tab, "text": text_tab, "translation": translation_tab}


def build(models: dict[str, str]) -> gr.Blocks:
    """The demo with a tab for each model, and the memory's own.

    Args:
        models: tab → folder or Hub name.

    Raises:
        ValueError: there is no tab of that name.
    """
    if unknown := set(models) - set(TABS):
        raise ValueError(f"there are tabs {', '.join(TABS)}, none called {sorted(unknown)[0]!r}")
    with gr.Blocks(title="Legendre Memory Units") as demo:
        gr.Markdown(
            "# Legendre Memory Units\nA sliding window of the past, held in a few numbers: trained in parallel, run "
            "step by step. Everything here runs on a CPU."
        )
        with gr.Tab("Memory"):
            memory_tab()
        for name, tab in TABS.items():
            if name in models:
                with gr.Tab(name.capitalize()):
                    tab(models[name])
    return demo


if __name__ == "__main__":
    build(json.loads(os.environ.get("LMU_SPACE_MODELS", "{}"))).launch()
