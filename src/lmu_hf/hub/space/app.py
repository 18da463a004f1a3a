"""A tab for each task of the family, and one for the memory itself. `make space` runs it; a Hub Space runs this file.

Models are those in the box. LMU_SPACE_MODELS, a JSON object of tab → folder or Hub name, names others for the tabs
"digits", "sentiment", "text", "translation" and "sound"; of these, a tab without a model is left out.
"""

import json
import os
from collections.abc import Callable, Mapping
from threading import Thread
from typing import Any

import lmu_hf_cli  # noqa: F401  # first: the package then imports transformers when a model is loaded, and not before

# isort: split
from lmu_hf.hub.space import digits, forecast, memory, sentiment, sound, text, translation
from lmu_hf.hub.space.models import TABS, TabModel, in_the_box
from lmu_hf.hub.space.page import CSS, THEME, gr

MOST_BYTES = 10 * 2**20  # of a file
BUILDERS: dict[str, Callable[[TabModel], None]] = {
    "digits": digits.tab,
    "sentiment": sentiment.tab,
    "text": text.tab,
    "translation": translation.tab,
    "sound": sound.tab,
}


def build(models: Mapping[str, str]) -> gr.Blocks:
    """The demo with a tab for each model, and those of the memory and of forecasts, which need none.

    Args:
        models: tab → folder or Hub name.

    Raises:
        ValueError: there is no tab of that name.
    """
    chosen = {tab: TabModel(tab, name) for tab, name in models.items()}
    with gr.Blocks(title="Legendre Memory Units", analytics_enabled=False) as demo:
        gr.Markdown(
            "# Legendre Memory Units\nA sliding window of the past, held in a few numbers: trained in parallel, run "
            "step by step, here on a CPU."
        )
        with gr.Tab("Memory"):
            memory.tab()
        for name in TABS:
            if name in chosen:
                with gr.Tab(name.capitalize()):
                    BUILDERS[name](chosen[name])
        with gr.Tab("Forecast"):
            forecast.tab()
        # Once a page is open, what the other tabs need is loaded behind it.
        demo.load(lambda: Thread(target=warm, args=(list(chosen.values()),), daemon=True).start(), queue=False)
    return demo


def warm(chosen: list[TabModel]) -> None:
    """Load models, and import what forecasts need: visitors then do not wait for it."""
    for model in chosen:
        model.load()
    from lmu_hf.hub.space import forecasting, readings  # noqa: F401


def serve(demo: gr.Blocks, **where: Any) -> None:
    """Serve until interrupted.

    Args:
        demo: the demo.
        where: ``server_name`` and ``server_port``, as gradio has them.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # the network is asked for nothing
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"  # of visitors' tables
    demo.launch(theme=THEME, css=CSS, max_file_size=MOST_BYTES, footer_links=[], **where)


if __name__ == "__main__":
    serve(build(in_the_box() | json.loads(os.environ.get("LMU_SPACE_MODELS", "{}"))))
