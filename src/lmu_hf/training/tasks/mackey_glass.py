"""Real-valued series to predict: the chaotic series of Mackey and Glass, generated on the spot."""

from collections.abc import Iterable
from hashlib import sha256

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import AutoModelForTimeSeriesPrediction, PreTrainedModel

from .base import Gather, Task

TRAIN, VALIDATION, TEST = 32, 32, 64  # series


def mackey_glass(
    series: int = 128, steps: int = 5000, tau: int = 17, seed: int = 0, inner_steps: int = 10, washout: int = 100
) -> np.ndarray:
    """Series of x' = 0.2 x(t − τ) / (1 + x(t − τ)¹⁰) − 0.1 x, by Euler's method, squashed and centred.

    Each series begins from a history drawn around 1.2 (± 0.1). What is returned is tanh(x − 1) less the mean of all.

    Args:
        series: how many.
        steps: samples of each, a unit of time apart.
        tau: the delay, in units of time.
        seed: of the histories.
        inner_steps: Euler steps to a sample.
        washout: samples that are left out at the beginning.

    Returns:
        (series, steps), float64.
    """
    draw = np.random.default_rng(seed)
    # A ring of the last tau units of time, Euler step by Euler step.
    history = list(1.2 + 0.2 * (draw.random((tau * inner_steps, series)) - 0.5))
    x = np.full(series, 1.2)
    samples = np.empty((washout + steps, series))
    for step in range(len(samples) * inner_steps):
        place = step % len(history)
        # What is read was written one whole ring ago: x(t − τ). x(t) takes its place.
        delayed, history[place] = history[place], x
        x = x + (0.2 * delayed / (1 + delayed**10) - 0.1 * x) / inner_steps  # time step 1/inner_steps
        if step % inner_steps == inner_steps - 1:  # one sample a unit of time
            samples[step // inner_steps] = x
    squashed = np.tanh(samples[washout:] - 1).T  # (series, steps)
    return squashed - squashed.mean()  # one mean for all series and splits


class Series(Dataset):
    """Series and what is to be predicted at each of their steps, handed out a whole batch at a time.

    Args:
        values: (rows, n).
        horizon: how many steps ahead the label of a step lies.
    """

    def __init__(self, values: Tensor, horizon: int) -> None:
        self.inputs, self.labels = values[:, :-horizon], values[:, horizon:]  # label t is value t + horizon

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """A batch of one series."""
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        """A batch of series: what torch's loader asks for first."""
        return {"input_values": self.inputs[indices], "labels": self.labels[indices]}


class MackeyGlassTask(Task):
    """Predict a Mackey-Glass series some steps ahead, at every step: 32 series train, 32 validate, 64 test.

    Args:
        horizon: how many steps ahead.
        steps: samples of each series.
        tau: the delay in the equation; chaotic from 17 on.
        seed: of the series.
        window: steps of a training row; training series are cut into as many whole rows as they have, and None leaves
            them whole. Validation and test always read whole series.

    Raises:
        ValueError: the series are no longer than the horizon, or than a window.
    """

    name = "Mackey-Glass"
    task = "time-series-forecasting"
    problem_type = "regression"
    metric = "nrmse"
    lower_is_better = True
    scorer = "root mean squared error over root mean square of the target, all series and steps together"
    evaluation_batch = 32
    auto_class = AutoModelForTimeSeriesPrediction

    def __init__(
        self, horizon: int = 15, steps: int = 5000, tau: int = 17, seed: int = 0, window: int | None = None
    ) -> None:
        if not 0 < horizon < steps:
            raise ValueError(f"horizon must lie between 1 and steps - 1 = {steps - 1}, got {horizon}")
        if window is not None and not 0 < window <= steps - horizon:
            raise ValueError(f"window must lie between 1 and steps - horizon = {steps - horizon}, got {window}")
        self.horizon, self.tau, self.seed = horizon, tau, seed
        values = mackey_glass(TRAIN + VALIDATION + TEST, steps, tau, seed)
        self.fingerprint = sha256(values.tobytes()).hexdigest()[:16]
        # Series, not stretches of one: what is tested comes from histories never trained on.
        parts = torch.from_numpy(values).float().split([TRAIN, VALIDATION, TEST])
        names = ("train", "validation", "test")
        self.splits = {name: Series(part, horizon) for name, part in zip(names, parts, strict=True)}
        if window is not None:
            # Rows overlap by the horizon, so that every step has its label and none is trained on twice.
            self.splits["train"] = Series(parts[0].unfold(1, window + horizon, window).flatten(0, 1), horizon)

    def describe(self) -> dict:
        """Rows per split, steps, what the equation was, and a fingerprint of every number."""
        return {
            "name": self.name,
            "rows": {split: len(rows) for split, rows in self.splits.items()},
            "steps": {split: rows.inputs.shape[1] for split, rows in self.splits.items()},
            "horizon": self.horizon,
            "tau": self.tau,
            "seed": self.seed,
            "fingerprint": self.fingerprint,
        }

    def config_fields(self) -> dict:
        """One number in, and as a forecast has it unless told otherwise, one out."""
        return {"input_size": 1}

    def terms(self, inputs: dict[str, Tensor]) -> Tensor:
        """Every step of every series."""
        # Every label counts: to a regression -100 is a value like any other.
        return torch.tensor(inputs["labels"].numel(), device=inputs["labels"].device)

    def scores(
        self, model: PreTrainedModel, split: str, batches: Iterable, gather: Gather, final: bool = False
    ) -> dict[str, float]:
        """NRMSE: root mean squared error over the target's root mean square."""
        error, power = 0.0, 0.0
        for batch in batches:
            # A row is a whole series: there is no memory to carry on.
            predictions = model(batch["input_values"], use_cache=False).predictions[..., 0]
            # Sums over the split, in float64, and one root at the end: a mean of batches' NRMSE is another number.
            labels = batch["labels"].double()
            sums = gather(((predictions.double() - labels).square().sum(1), labels.square().sum(1)))
            error, power = error + sums[0].sum().item(), power + sums[1].sum().item()
        return {"nrmse": (error / power) ** 0.5}

    def processor(self) -> None:
        """None: a series is numbers already."""
        return
