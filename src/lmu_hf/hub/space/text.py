"""Text that is written on, token by token."""

import time
from collections.abc import Iterator

from .inputs import number, whole
from .models import TabModel
from .page import gr, with_notes

EXPLAINED = (
    "A small model of Python code continues what you write. It carries the same few numbers from token to token, "
    "however long the text becomes."
)


def tab(chosen: TabModel) -> None:
    """The tab."""

    @with_notes
    def write(prompt: str, tokens: int, temperature: float, seed: int) -> Iterator[tuple[str, str]]:
        from .readings import write_on

        # A page's numbers are doubles, which hold whole numbers up to 2**53.
        tokens, seed = whole(tokens, "Tokens", 1, 1000), whole(seed, "Seed", 0, 2**53)
        temperature = number(temperature, "Temperature", 0, 1.5)
        model, tokenizer = chosen.load()
        start, state = time.perf_counter(), f"carrying {model.config.state_size:,} numbers"
        made, text = 0, prompt  # what stays if the model ends at once
        for made, text in enumerate(write_on(model, tokenizer, prompt, tokens, temperature, seed), 1):
            # Not every token is sent, to spare the page; the last one always is.
            if made % 4 == 0:
                yield text, f"{made / (time.perf_counter() - start):,.0f} tokens a second, {state}"
        yield text, f"{made} tokens, {made / (time.perf_counter() - start):,.0f} tokens a second, {state}"

    gr.Markdown(EXPLAINED)
    with gr.Row():
        with gr.Column(min_width=280):
            prompt = gr.Textbox("def read(self, ", label="Begin with", lines=3, elem_id="text-prompt")
            button = gr.Button("Write", variant="primary", elem_id="text-write")
        with gr.Column(min_width=280):
            tokens = gr.Slider(20, 1000, 300, step=10, label="Tokens to write")
            temperature = gr.Slider(0, 1.5, 0.6, step=0.1, label="Temperature: 0 takes the likeliest token")
            seed = gr.Number(0, label="Seed", precision=0)
    output = gr.Code(label="Text", language="python", lines=14, wrap_lines=True, elem_id="text-output")
    speed = gr.Markdown(elem_id="text-speed")
    button.click(write, [prompt, tokens, temperature, seed], [output, speed], show_progress="hidden")
