"""A sound that is classified while it is heard."""

import time
from collections.abc import Iterator
from html import escape

from .inputs import SECONDS
from .models import TabModel
from .page import gr, with_notes

COLOURS = ("var(--lmu-accent)", "#2f81c7", "#8a8f98")  # of the classes that score highest
EXPLAINED = (
    "Record one English digit, zero to nine, or pick a WAV file. The model hears the sound **piece by piece** and "
    "scores what it has heard so far; silence before and behind is cut."
)


def tab(chosen: TabModel) -> None:
    """The tab."""

    @with_notes
    def listen(path: str | None) -> Iterator[tuple[dict[str, float], str, str]]:
        from .readings import hear

        if path is None:
            raise ValueError("there is no sound yet: record one, or pick a file")
        yield {}, "Listening …", ""
        heard: list[tuple[float, dict[str, float]]] = []
        try:
            for seconds, scores in hear(*chosen.load(), path):
                if heard:
                    time.sleep(seconds - heard[-1][0])  # as long as the piece sounds
                heard.append((seconds, scores))
                yield scores, f"{seconds:.2f} s heard", over_time(heard)
        except ValueError:
            yield {}, "Nothing has been heard.", ""
            raise

    gr.Markdown(EXPLAINED)
    with gr.Row():
        with gr.Column(min_width=280):
            sound = gr.Audio(
                sources=["microphone", "upload"],
                type="filepath",
                label=f"Sound, up to {SECONDS:g} s",
                editable=False,
                buttons=[],
                elem_id="sound-audio",
            )
            button = gr.Button("Listen", variant="primary", elem_id="sound-listen")
        with gr.Column(min_width=280):
            guess = gr.Label(num_top_classes=4, label="It is a", elem_id="sound-guess")
            said = gr.Markdown("Nothing has been heard yet.", elem_id="sound-said")
    scores = gr.HTML(elem_id="sound-scores")
    for event in (button.click, sound.stop_recording, sound.upload):
        event(listen, sound, [guess, said, scores], show_progress="hidden")


def over_time(heard: list[tuple[float, dict[str, float]]]) -> str:
    """The scores of the classes that lead by now, as lines over the seconds heard, in HTML."""
    end, last = heard[-1]
    leading = sorted(last, key=last.__getitem__, reverse=True)[: len(COLOURS)]
    lines, legend = [], []
    for name, colour in zip(leading, COLOURS, strict=False):
        points = " ".join(f"{seconds / end:.4f},{1 - scores[name]:.4f}" for seconds, scores in heard)
        lines.append(f'<polyline points="{points}" style="stroke: {colour}"/>')
        legend.append(f'<span style="color: {colour}">● {escape(name)}: {last[name]:.0%}</span>')
    picture = f'<svg viewBox="0 0 1 1" preserveAspectRatio="none">{"".join(lines)}</svg>'
    return (
        f'<div class="lmu-lines"><div>100 %</div>{picture}'
        f"<div><span>0 %, 0 s</span><span>{end:.2f} s</span></div><div>{''.join(legend)}</div></div>"
    )
