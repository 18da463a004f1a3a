"""What makes a run fast and can change its last digits: the route of its products, and whether it is compiled."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from time import perf_counter

import torch
from accelerate import PartialState
from transformers import PreTrainedModel

from ..common.errors import InputError
from ..common.products import AUTO, asked_route, bfloat16_gain, choose_route, fast_products, measure
from ..common.record import RunRecord
from ..data.heap import Heap
from .identity import AnotherRunError
from .processes import on_main
from .recipes import Recipe
from .transfer import transfer_body

BF16_GAIN = 1.3  # times as fast as float32 products must be: the rest of a step does not gain
TRIED = 3  # steps that are timed, of which the last counts
GRAPHS = 64  # shapes of a batch that a run may have, each compiled by itself

logger = logging.getLogger(__name__)


@contextmanager
def at_speed(record: RunRecord, earlier: RunRecord | None, model: PreTrainedModel) -> Iterator[None]:
    """Make a run's float32 products by one route from its first step to its last score, and compile what it asks for.

    Args:
        record: of the run; the route and what was measured are written there.
        earlier: of the checkpoint that it goes on from, whose route it then keeps, so that its digits stay the same.
        model: as the wrappers of several processes hold it.

    Raises:
        AnotherRunError: ``LMU_HF_MATMUL`` names another route than the checkpoint's.
        InputError: it names none; or batches have too many shapes to be compiled.
    """
    route = on_main(lambda: _route(earlier))  # all processes take one, though each may measure its own times
    with fast_products(route), _compiled(model) if record.torch_compile else nullcontext():
        record.matmul = route
        measured = measure() if PartialState().device.type == "cpu" else ()
        record.products = {m.route: {"gflops": round(m.gflops, 1), "error": m.error} for m in measured}
        yield


def chosen_precision(asked: str | None, recipe: Recipe) -> str | None:
    """What accelerate is told: what was asked for, and of ``"auto"`` what the recipe allows and gains by here."""
    if asked != "auto":
        return asked
    if not recipe.allows_bf16:
        return "no"
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "no"
    return on_main(lambda: "bf16" if bfloat16_gain() >= BF16_GAIN else "no")


def time_step(model_name_or_path: str, batch_size: int, length: int) -> float:
    """Seconds of a training step of a classifier on a pre-trained stack, on this machine as it is now.

    Args:
        model_name_or_path: the pre-trained model.
        batch_size, length: rows of a batch, and tokens of a row.

    Raises:
        ValueError: the model will not do, as :func:`~lmu_hf.training.transfer.transfer_body` says.
    """
    return on_main(lambda: _time_step(model_name_or_path, batch_size, length))


def _time_step(model_name_or_path: str, batch_size: int, length: int) -> float:
    Heap()  # as training has it
    with torch.random.fork_rng():  # a run's own numbers do not depend on what was tried before
        model = transfer_body(model_name_or_path, num_labels=2).model.to(PartialState().device).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
        ids = torch.arange(batch_size * length, device=model.device).view(batch_size, length) % model.config.vocab_size
        labels = torch.zeros(batch_size, dtype=torch.long, device=model.device)
        seconds = 0.0
        for _ in range(TRIED):  # the first one warms up
            begin = perf_counter()
            loss = model(ids, labels=labels).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            loss.item()  # waits for an accelerator
            seconds = perf_counter() - begin
    return seconds


def _route(earlier: RunRecord | None) -> str:
    asked = asked_route()
    if earlier is None or PartialState().device.type != "cpu":
        return choose_route(asked) if PartialState().device.type == "cpu" else "torch"
    made = earlier.matmul or "torch"
    if asked not in (AUTO, made):
        raise AnotherRunError(
            f"the run made its products by {made}, and the environment variable LMU_HF_MATMUL asks for {asked}: "
            f"set it to {made} or leave it out, or begin anew with --overwrite_output_dir"
        )
    return still_there(made)


def still_there(made: str | None) -> str:
    """The route that a run has made its products by, None standing for versions that had but torch's own."""
    try:
        return choose_route(made or "torch")
    except InputError as error:
        logger.warning("digits may differ from here on: the run made its products by %s, and %s", made, error)
        return "torch"


@contextmanager
def _compiled(model: PreTrainedModel) -> Iterator[None]:
    """A graph for each shape of a batch, so that what was compiled before changes no digit."""
    import torch._dynamo.exc  # seconds, which a run that compiles nothing need not wait for

    model.compile(dynamic=False)
    try:
        # Past its limit torch would run the rest uncompiled: then how a run goes on would depend on how it began.
        with torch._dynamo.config.patch(recompile_limit=GRAPHS, fail_on_recompile_limit_hit=True):
            yield
    except torch._dynamo.exc.FailOnRecompileLimitHit as error:
        raise InputError(
            f"--torch_compile: batches have more than {GRAPHS} shapes, each of which would be compiled: leave it out"
        ) from error
    finally:
        model._compiled_call_impl = None  # whoever goes on with the model has it as it was


@contextmanager
def uncompiled(record: RunRecord) -> Iterator[None]:
    """Compute as whoever loads the saved model will: for scores."""
    with torch.compiler.set_stance("force_eager") if record.torch_compile else nullcontext():
        yield


class CompileClock:
    """How long torch's compiler has run since it was last asked."""

    def __init__(self) -> None:
        self._before = self._spent()

    def passed(self) -> float:
        """Seconds of this process."""
        before, self._before = self._before, self._spent()
        return self._before - before

    @staticmethod
    def _spent() -> float:
        dynamo = sys.modules.get("torch._dynamo")  # not imported for this: where it is not, nothing was compiled
        return 0.0 if dynamo is None else dynamo.utils.calculate_time_spent().get("total_wall_time", 0.0)
