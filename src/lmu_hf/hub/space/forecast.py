"""A table of series that you upload, and what comes behind it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pandas as pd

from .inputs import whole
from .page import gr, with_notes

if TYPE_CHECKING:
    from .forecasting import Forecasted

MOST_STEPS = 500  # ahead
SEEN = 3  # times as many steps behind as ahead are shown
COLOURS = {"in the table": "#7b8794", "forecast": "#e0526c"}  # read on light and on dark
EXPLAINED = (
    "Pick a CSV file with one row a time step and one column a series. A memory reads the last steps and **forecasts "
    "those to come**; its readout is solved from your table, in seconds."
)


def lines_of(found: "Forecasted", name: str) -> pd.DataFrame:
    """The end of a series and its forecast, one row a step; step 0 is the first that is forecast."""
    at = found.series.channels.index(name)
    ahead = found.ahead[:, at]
    past = found.series.values[-SEEN * len(ahead) :, at]
    seen = pd.DataFrame({"step": range(-len(past), 0), "value": past, "line": "in the table"})
    # The forecast's line begins at the last value of the table, so that the two meet.
    coming = pd.DataFrame({"step": range(-1, len(ahead)), "value": [past[-1], *ahead], "line": "forecast"})
    return pd.concat([seen, coming])


def tab() -> None:
    """The tab."""

    def answer(path: str | None, steps: float | None) -> Iterator[tuple]:
        steps = whole(steps, "Steps ahead", 0, MOST_STEPS)
        yield (
            None,
            "Reading the table and solving the readout …",
            gr.Dropdown(visible=False),
            gr.LinePlot(visible=False),
        )
        # Here, since what it imports takes longer than a page may take to open.
        from .forecasting import forecasted

        try:
            found = forecasted(path, steps or None)
        except ValueError:
            yield None, "Nothing has been forecast.", gr.Dropdown(visible=False), gr.LinePlot(visible=False)
            raise
        names = list(found.series.channels)
        picker = gr.Dropdown(choices=names, value=names[0], visible=True)
        yield found, found.said, picker, gr.LinePlot(lines_of(found, names[0]), visible=True)

    @with_notes
    def run(path: str | None, steps: float | None) -> Iterator[tuple]:
        if path is None:
            raise ValueError("there is no table yet: pick a file, or take the made-up table")
        yield from answer(path, steps)

    @with_notes
    def made_up(steps: float | None) -> Iterator[tuple]:
        yield from answer(None, steps)

    @with_notes
    def show(found: "Forecasted | None", name: str) -> Iterator[pd.DataFrame]:
        if found is None:
            raise ValueError("nothing has been forecast yet")
        yield lines_of(found, name)

    gr.Markdown(EXPLAINED)
    kept = gr.State()
    with gr.Row():
        with gr.Column(min_width=280):
            file = gr.File(label="Table", file_types=[".csv", ".tsv", ".txt"], height=150, elem_id="forecast-file")
        with gr.Column(min_width=280):
            steps = gr.Number(0, label="Steps ahead (0: one season)", precision=0, elem_id="forecast-steps")
            with gr.Row():
                button = gr.Button("Forecast", variant="primary", min_width=120, elem_id="forecast-run")
                sample = gr.Button("Made-up table", min_width=120, elem_id="forecast-sample")
    said = gr.Markdown("Nothing has been forecast yet.", elem_id="forecast-said")
    name = gr.Dropdown([], label="Series", visible=False, elem_id="forecast-series")
    plot = gr.LinePlot(
        x="step",
        y="value",
        color="line",
        color_map=COLOURS,
        x_title="steps from the end of the table",
        height=320,
        buttons=[],
        visible=False,  # until there is something to show
        elem_id="forecast-plot",
    )
    outputs = [kept, said, name, plot]
    button.click(run, [file, steps], outputs, show_progress="hidden")
    sample.click(made_up, steps, outputs, show_progress="hidden")
    name.input(show, [kept, name], plot, show_progress="hidden")
