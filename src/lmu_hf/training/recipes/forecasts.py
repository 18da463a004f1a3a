"""Real-valued series: a chaotic one, and tables of one's own, which make their recipe."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .base import Recipe, Reproduction, recipe
from .own import Made

if TYPE_CHECKING:  # recipes are listed by commands that need nothing of this
    from ...data.forecasts import SeriesTable

MINUTES = 5.0  # of two cores; what training a baseline may take
HORIZON = 12  # steps, where there is no season
LSTM_SEASONS = 7  # of the context that the LSTM baseline reads


@recipe
def mackey_glass() -> Recipe:
    """Mackey-Glass, 15 steps ahead: NRMSE 0.0194, three seeds; its LSTM baseline, as large: 0.0263.

    Cost: 191 s of one core, 17,243 parameters. Training series are cut into rows of 250 steps: 19 steps a pass.
    Source: Chilkuri and Eliasmith, arXiv 2102.11417: one memory, 140 units, a dense layer of 80.
    """
    return Recipe(
        name="mackey-glass",
        kind="forecast",
        architecture={
            "block_type": "lmu",
            "num_hidden_layers": 1,
            "order": 40,
            "theta": 50,
            "memory_channels": 1,
            "hidden_size": 140,  # the paper's units
            "head_hidden_size": 80,
            "hidden_act": "gelu",
        },
        lstm={"hidden_size": 56},  # 17,857 parameters
        data={"window": 250},  # steps: five times theta
        learning_rate=1e-2,
        weight_decay=0.0,
        epochs=200,
        batch_size=32,
        eval_steps=380,  # 20 epochs
        averaging=0.99,
        max_grad_norm=1.0,
        reproduction=Reproduction(seeds=3, lstm=""),
    )


@recipe
def own_forecast() -> Recipe:
    """A table of series of your own: the default where a file is named. What the rows decide is printed. No record.

    Cost: seconds of two cores: the readout is solved, not trained. Its LSTM baseline is trained for five minutes, on
    the last seven seasons of each context.
    Source: made up here; Hoerl and Kennard (1970) for ridge regression.
    """
    return Recipe(
        name="own-forecast",
        kind="forecast",
        architecture={
            "block_type": "lmu",
            "num_hidden_layers": 1,
            "encoder": "identity",
            "readout": "memory",
            "hidden_act": "identity",
        },
        data={"made_by_rows": True},
        learning_rate=3e-3,
        weight_decay=0.0,
        epochs=10,
        batch_size=32,
        max_grad_norm=1.0,
        minutes=MINUTES,
        solved=True,
    )


@recipe
def days_and_weeks() -> Recipe:
    """Made-up hours of three channels with a day and a week, a day ahead; nothing is downloaded. No record.

    Cost: seconds of one core.
    """
    return replace(own_forecast(), name="days-and-weeks", data={"made_by_rows": True, "made_up": True})


def recipe_for(series: "SeriesTable", base: Recipe, **given: Any) -> Made:
    """The recipe that a table of series makes: which memory reads how much of it, chosen on two rolling origins.

    Args:
        series: the training and the validation part are read, and no more.
        base: ``own-forecast``, or one made of it.
        given: options that stand whatever the rows say, as flags do: ``prediction_length``, ``context_length``,
            ``split_steps``, ``quantiles``.

    Raises:
        InputError: the training part is too short for a context and a horizon.
    """
    # Below the flags, which read recipes: it takes a second.
    from ..forecast_choice import chosen_memory

    season, horizon = series.season, given.get("prediction_length")
    reasons: dict[str, str] = {"prediction_length": "given"}
    if horizon is None:
        horizon = season if season > 1 else HORIZON
        reasons["prediction_length"] = "a season (--prediction_length)" if season > 1 else "(--prediction_length)"
    memory, errors = chosen_memory(series, horizon, given.get("context_length"), given.get("split_steps"))
    found = ", ".join(f"{error:.4f} {where}" for where, error in errors.items())
    tried = "given" if "context_length" in given else "chosen"
    reasons |= {
        "context_length": f"{tried}; least squared error of forecasts from two rolling origins: {found}",
        "theta": "the window that the memory holds is the context",
        "order": "Legendre coefficients of the window; chosen with it",
        "normalization": "what is subtracted from each window; chosen with it",
        "strength": "of the ridge regression that solves the readout; chosen with it",
    }
    quantiles = given.get("quantiles")
    record = {
        "prediction_length": horizon,
        "context_length": memory.context,
        "channels": len(series.channels),
        "normalization": memory.normalization,
        "scaling": quantiles is not None,  # so that a calm window has narrow quantiles
        "quantiles": quantiles,
        "covariates": 0 if series.covariates is None else series.covariates.shape[1],
    }
    architecture = base.architecture | {
        "theta": memory.context,
        "order": memory.order,
        "hidden_size": memory.order,
        "forecast": record,
    }
    # What is learnt by gradient asks for windows of one size, and an LSTM takes many more steps on short ones.
    short = min(memory.context, LSTM_SEASONS * (season if season > 1 else HORIZON))
    lstm = {"hidden_size": 64, "forecast": record | {"scaling": True, "context_length": short}}
    options = {"prediction_length": horizon, "context_length": memory.context, "strength": memory.strength}
    options |= {name: given[name] for name in ("split_steps",) if name in given}
    kept = {name: value for name, value in base.data.items() if name != "made_by_rows"}
    made = replace(base, architecture=architecture, lstm=lstm, data=kept | options)
    return Made(made, options, reasons)
