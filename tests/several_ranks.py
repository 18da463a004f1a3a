"""What `test_distributed.py` has several gloo processes do; run by a launcher, never collected.

python -m torch.distributed.run --nproc_per_node 2 tests/several_ranks.py all

Every process computes the whole sequence alone, and its own chunk of it together with the others.
"""

import copy
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from families import config_of
from lmu_hf import (
    LMUConfig,
    LMUForCausalLM,
    LMUForConditionalGeneration,
    LMUForImageClassification,
    LMUForSequenceClassification,
    LMUForSequencePairClassification,
    LMUForTimeSeriesPrediction,
    LMUModel,
    sequence_parallel,
)
from lmu_hf.constants import exact
from lmu_hf.distributed import Ranks, memory_across
from lmu_hf.memory import memory_chunked
from lmu_hf.statespace import LegendreSystem

OUTPUTS, GRADIENTS = 1e-12, 1e-11
worst = {"outputs": 0.0, "gradients": 0.0}


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def near(actual: Tensor, expected: Tensor, bound: float, kind: str = "outputs") -> None:
    """Within a part of the largest number there is; and what came to that is noted."""
    error = ((actual - expected).abs().max() / expected.abs().max().clamp(min=1e-30)).item()
    worst[kind] = max(worst[kind], error) if bound <= GRADIENTS else worst[kind]
    assert error <= bound, (kind, error)


def cuts(n: int, ranks: Ranks) -> list[list[int]]:
    """Ways to cut n steps: about evenly, one long chunk among single steps, and the long one elsewhere."""
    even = [part.numel() for part in torch.arange(n).tensor_split(ranks.size)]
    odd = [1] * (ranks.size - 1)
    return [even, [*odd, n - len(odd)], [n - len(odd), *odd]] if ranks.size > 1 else [even]


def mine(x: Tensor, lengths: list[int], ranks: Ranks) -> Tensor:
    return x.split(lengths, dim=1)[ranks.rank]


def summed(x: Tensor) -> Tensor:
    """The sum over ranks, outside of any graph."""
    x = x.detach().clone()
    dist.all_reduce(x)
    return x


# --------------------------------------------------------------------------- the memory


def memories(ranks: Ranks) -> None:
    """Outputs, final memory and every gradient, the first and the second."""
    systems = LegendreSystem(1, 1.0), LegendreSystem(6, 20.0), LegendreSystem(64, 500.0, basis="orthonormal")
    for system, n, carried in itertools.product(systems, (7, 300), (False, True)):
        for lengths in cuts(n, ranks):
            u = noise(2, n, 3).requires_grad_()
            initial = (noise(2, 3, system.order) * exact("scale", system)).requires_grad_() if carried else None
            weight, weight_final = noise(2, n, 3, system.order), noise(2, 3, system.order)
            given = [u] if initial is None else [u, initial]

            m, final = memory_chunked(u, system, initial)
            expected = torch.autograd.grad(_energy(m, weight) + _energy(final, weight_final), given, create_graph=True)
            expected_second = torch.autograd.grad(sum(g.square().sum() for g in expected), given)

            chunk, chunk_final = memory_across(mine(u, lengths, ranks), system, initial, ranks)
            near(chunk, mine(m, lengths, ranks), OUTPUTS)
            near(chunk_final, final, OUTPUTS)
            # A part of the last sum on each rank: all ranks' losses add up to one rank's.
            loss = _energy(chunk, mine(weight, lengths, ranks)) + _energy(chunk_final, weight_final) / ranks.size
            grads = torch.autograd.grad(loss, given, create_graph=True)
            for grad, one in zip(grads, expected, strict=True):
                near(summed(grad), one, GRADIENTS, "gradients")
            # The whole gradient is a sum over ranks, and so is its square's gradient.
            whole = [ranks.total(grad) for grad in grads]
            second = torch.autograd.grad(sum(g.square().sum() for g in whole) / ranks.size, given)
            for grad, one in zip(second, expected_second, strict=True):
                near(summed(grad), one, GRADIENTS, "gradients")


def _energy(x: Tensor, weight: Tensor) -> Tensor:
    return (weight * x * x).sum()


# --------------------------------------------------------------------------- what is sent


@contextmanager
def counted() -> Iterator[list[tuple[str, int, torch.dtype]]]:
    """Every tensor that this process hands to a collective: which one, how many numbers, of what type."""
    sent: list[tuple[str, int, torch.dtype]] = []
    gather, scatter = dist.all_gather, dist.reduce_scatter

    def all_gather(parts: list[Tensor], x: Tensor, **kwargs) -> None:
        sent.append(("gather", x.numel(), x.dtype))
        gather(parts, x, **kwargs)

    def reduce_scatter(mine: Tensor, parts: list[Tensor], **kwargs) -> None:
        sent.append(("scatter", sum(part.numel() for part in parts), mine.dtype))
        scatter(mine, parts, **kwargs)

    with pytest.MonkeyPatch.context() as patched:
        for name in ("all_gather_into_tensor", "all_reduce", "broadcast", "all_to_all", "send", "all_gather_object"):
            patched.setattr(dist, name, None)
        patched.setattr(dist, "all_gather", all_gather)
        patched.setattr(dist, "reduce_scatter", reduce_scatter)
        yield sent


def bytes_sent(ranks: Ranks) -> None:
    """What is sent is a memory per layer, backward one per rank, b lengths and a count: of any number of steps."""
    config = LMUConfig(**SMALL, block_type="residual", memory_channels=3)
    model = LMUModel(config).double()
    seen = []
    for n in (64, 256, 4096):
        with counted() as sent, sequence_parallel():
            model(input_ids=torch.randint(11, (2, n))).last_hidden_state.square().sum().backward()
        seen.append(sent)
    assert seen[0] == seen[1] == seen[2]
    memory = 2 * 3 * config.order
    forward = [("gather", memory, torch.float64)] * 2
    backward = [("scatter", memory * ranks.size, torch.float64)] * 2
    assert seen[0] == [("gather", 3, torch.int64), *forward, *backward]


GUIDE = Path(__file__).parents[1] / "docs" / "guides" / "several_processes.md"


def bytes_per_step(ranks: Ranks) -> None:
    """What a process hands over in a step of training by rows and by parts, which is what the guide says."""
    config = LMUConfig(vocab_size=256, hidden_size=64, num_hidden_layers=2, theta=[16, 4000])
    reduce = dist.all_reduce  # as it is before `counted` forbids it

    def exchange(sent: list, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
        sent.append(("gradients", bucket.buffer().numel(), bucket.buffer().dtype))
        work = reduce(bucket.buffer().div_(ranks.size), async_op=True)
        return work.get_future().then(lambda future: future.value()[0])

    table = {}
    for steps, by_parts in ((64, False), (64, True), (2048, False), (2048, True)):
        model = nn.parallel.DistributedDataParallel(LMUForCausalLM(config))
        with counted() as sent:
            model.register_comm_hook(sent, exchange)
            ids = torch.randint(256, (1, steps))
            with sequence_parallel() if by_parts else nullcontext():
                ids = ranks.cut(ids) if by_parts else ids
                model(input_ids=ids, labels=ids).loss.backward()
        sizes = [(what, count * dtype.itemsize, dtype) for what, count, dtype in sent]
        gradients = sum(size for what, size, _ in sizes if what == "gradients")
        memories = sum(size for what, size, dtype in sizes if what != "gradients" and size > 100)
        found = gradients, memories, sum(size for *_, size, _ in sizes) - gradients - memories
        assert table.setdefault(by_parts, found) == found  # the same for every length
    assert table[False] == (4 * model.module.num_parameters(), 0, 0)
    print(f"bytes of a step: {table}", flush=True)
    if ranks.size == 2:
        text = GUIDE.read_text(encoding="utf-8")
        names = ("gradients", "memories of all layers, forward and backward", "lengths, labels and losses")
        for name, by_rows, parts in zip(names, table[False], table[True], strict=True):
            assert f"| {name} | {by_rows:,} | {parts:,} |" in text, (name, by_rows, parts)


# --------------------------------------------------------------------------- whole models

SMALL = {"vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 2, "order": 4, "theta": 9.0}
ARCHITECTURES = [
    {"block_type": "residual"},
    {"block_type": "lmu", "hidden_act": "relu"},
    {"block_type": "highway", "deep_representations": True},
    {"block_type": "residual", "bidirectional": True, "pooling": "mean"},
    {"block_type": "residual", "memory_form": "fft", "theta": [3.0, 40.0]},
    {"block_type": "residual", "bidirectional": True, "theta": [[3.0, 40.0], 9.0], "pooling": "mean"},
    {"block_type": "residual", "ngrams": {"sizes": [2, 7], "buckets": 50, "width": 3}},
]


def make(kind: type[nn.Module], **changes) -> nn.Module:
    torch.manual_seed(0)
    return kind(config_of({**SMALL, **changes})).double().train()


Cut = Callable[[Tensor], Tensor]


def compare(model: nn.Module, ranks: Ranks, call: Callable[[Cut, Cut], Tensor], bound: float = OUTPUTS) -> None:
    """A loss and its gradients, the mean over ranks, against those of one process.

    ``call`` makes the loss. It is given what cuts a chunk out of a whole tensor, and what sums over ranks.
    """
    expected = call(lambda x: x, lambda x: x)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    one = torch.autograd.grad(expected, trained, allow_unused=True)
    # Some parameters' gradients are zero but for rounding, so all are measured against the largest.
    largest = max(grad.abs().max().item() for grad in one if grad is not None)
    for lengths in cuts(40, ranks):
        with sequence_parallel():
            loss = call(lambda x, lengths=lengths: mine(x, lengths, ranks), ranks.total)
        model.zero_grad()
        loss.backward()
        near(loss, expected, bound)
        for parameter, grad in zip(trained, one, strict=True):
            assert (parameter.grad is None) == (grad is None)
            if grad is not None:
                error = ((summed(parameter.grad) / ranks.size - grad).abs().max() / largest).item()
                assert error <= max(bound, GRADIENTS), error
                if bound == OUTPUTS:
                    worst["gradients"] = max(worst["gradients"], error)


def stacks(ranks: Ranks) -> None:
    """Every block, with and without a mask, with and without a carried memory; and what is carried on."""
    ids, more = torch.randint(11, (3, 40)), torch.randint(11, (3, 5))
    mask = torch.rand(3, 40) > 0.3
    mask[1, 20:] = False  # the last ranks have nothing of this row
    for changes, masked in itertools.product(ARCHITECTURES, (None, mask)):
        model = make(LMUModel, **changes)
        causal = not model.config.bidirectional
        with torch.no_grad():
            carried = model(input_ids=more, use_cache=True).past_key_values if causal else None
        one = model(input_ids=ids, attention_mask=masked, past_key_values=copy.deepcopy(carried))
        for lengths in cuts(40, ranks):
            here = None if masked is None else mine(masked, lengths, ranks)
            with sequence_parallel():
                part = model(
                    input_ids=mine(ids, lengths, ranks), attention_mask=here, past_key_values=copy.deepcopy(carried)
                )
            near(part.last_hidden_state, mine(one.last_hidden_state, lengths, ranks), OUTPUTS)
            if causal:
                for layer, whole in zip(part.past_key_values.layers, one.past_key_values.layers, strict=True):
                    near(layer.memory, whole.memory, OUTPUTS)
                    assert whole.tokens is None or torch.equal(layer.tokens, whole.tokens)
                    assert layer.get_seq_length() == whole.get_seq_length()


def hidden_losses(ranks: Ranks) -> None:
    """Gradients of every parameter and architecture; every other one is run twice by checkpointing."""
    ids, target = torch.randint(11, (2, 40)), noise(2, 40, 8)
    for changes, checkpointed in ((ARCHITECTURES[k], k % 2 > 0) for k in range(len(ARCHITECTURES))):
        model = make(LMUModel, **changes)
        if checkpointed:
            model.gradient_checkpointing_enable()

        def call(cut: Cut, total: Cut, model=model) -> Tensor:
            hidden = model(input_ids=cut(ids), use_cache=False).last_hidden_state
            return total((hidden * cut(target)).sum())

        compare(model, ranks, call)


def heads(ranks: Ranks) -> None:
    """Losses of every head that reads one sequence, with and without a mask that leaves some ranks nothing of a row."""
    ids, values, labels = torch.randint(11, (3, 40)), noise(3, 40, 2), torch.tensor([0, 2, 1])
    holed = torch.rand(3, 40) > 0.3
    holed[0, :30], holed[1, 12:] = False, False
    for pooling, mask in ("last", holed), ("mean", holed), ("mean_max", holed), ("last", torch.ones_like(holed)):
        second = (mask.cumsum(1) * 2 > mask.sum(1, keepdim=True)).long()
        one = make(LMUForSequenceClassification, num_labels=3, pooling=pooling)
        pair = make(LMUForSequencePairClassification, num_labels=3, pooling=pooling)

        def of_one(cut: Cut, _: Cut, model=one, mask=mask) -> Tensor:
            return model(cut(ids), attention_mask=cut(mask), labels=labels).loss

        def of_a_pair(cut: Cut, _: Cut, model=pair, mask=mask, second=second) -> Tensor:
            return model(cut(ids), attention_mask=cut(mask), token_type_ids=cut(second), labels=labels).loss

        compare(one, ranks, of_one)
        compare(pair, ranks, of_a_pair)
    for sizes in ([1, 7], [1]):
        voting = make(LMUForSequenceClassification, num_labels=3, pooling="mean", votes={"sizes": sizes, "buckets": 50})
        voting.votes.count(ids, labels)

        def of_votes(cut: Cut, _: Cut, model=voting) -> Tensor:
            return model(cut(ids), attention_mask=cut(holed), labels=labels).loss

        compare(voting, ranks, of_votes)
    unmasked = make(LMUForSequenceClassification, num_labels=3)
    compare(unmasked, ranks, lambda cut, _: unmasked(cut(ids), labels=labels).loss)
    for switches in ({}, {"bidirectional": True}):  # the mean without the states
        linear = {"block_type": "lmu", "hidden_act": "identity", "num_labels": 3, "pooling": "mean", **switches}
        mean = make(LMUForSequenceClassification, **linear)
        for given in ({}, {"attention_mask": holed}):

            def of_a_mean(cut: Cut, _: Cut, model=mean, given=given) -> Tensor:
                return model(cut(ids), labels=labels, **{name: cut(x) for name, x in given.items()}).loss

            compare(mean, ranks, of_a_mean)
    image = make(LMUForImageClassification, vocab_size=None, input_size=1, image_size=7, num_labels=3)
    pixels = noise(3, 1, 7, 7)
    compare(image, ranks, lambda *_: image(pixel_values=pixels, labels=labels).loss)
    series = make(LMUForTimeSeriesPrediction, vocab_size=None, input_size=2, output_size=2)
    for given in ({}, {"attention_mask": holed}):  # a loss in float32, as the head makes it

        def of_a_series(cut: Cut, _: Cut, given=given) -> Tensor:
            return series(cut(values), labels=cut(values), **{name: cut(x) for name, x in given.items()}).loss

        compare(series, ranks, of_a_series, bound=1e-6)


def language(ranks: Ranks) -> None:
    """The next token's loss crosses from chunk to chunk, and labels may be missing on a whole rank."""
    ids = torch.randint(1, 11, (2, 40))  # generate takes 0 for padding
    labels = ids.clone()
    labels[:, :25] = -100
    model = make(LMUForCausalLM)
    for target in (ids, labels):  # transformers makes the loss in float32
        compare(model, ranks, lambda cut, _, target=target: model(cut(ids), labels=cut(target)).loss, bound=1e-6)
    with torch.no_grad():
        model.eval()
        expected = model.generate(ids[:1], max_new_tokens=8, do_sample=False)[:, 40:]
        with sequence_parallel():
            read = model(ranks.cut(ids[:1]), use_cache=True)
        following = ranks.gather(read.logits[:, -1])[-1].argmax(-1, keepdim=True)
        tokens = [following]
        for _ in range(7):
            following = model(following, past_key_values=read.past_key_values).logits[:, -1].argmax(-1, keepdim=True)
            tokens.append(following)
        assert torch.equal(torch.cat(tokens, dim=1), expected)


def data_parallel(ranks: Ranks) -> None:
    """Wrapped for data parallel training, the averaged gradients are one process's."""
    ids, labels = torch.randint(11, (3, 40)), torch.tensor([0, 2, 1])
    model = make(LMUForSequenceClassification, num_labels=3)
    model(ids, labels=labels).loss.backward()
    one = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    wrapped = nn.parallel.DistributedDataParallel(model)
    with sequence_parallel():
        wrapped(ranks.cut(ids), labels=labels).loss.backward()
    for parameter, grad in zip(model.parameters(), one, strict=True):
        near(parameter.grad, grad, GRADIENTS, "gradients")


def subgroups(ranks: Ranks) -> None:
    """Each sequence over a part of the ranks, beside others over other parts; and on one rank alone."""
    model = make(LMUModel)
    for size in {1, ranks.size // 2}:
        group, _ = dist.new_subgroups(size)
        ids = torch.randint(11, (ranks.size // size, 30))[ranks.rank // size, None]
        expected = model(ids).last_hidden_state
        with sequence_parallel(group) as part:
            near(model(part.cut(ids)).last_hidden_state, part.cut(expected), OUTPUTS)
        u, system = noise(ranks.size // size, 30, 3)[ranks.rank // size, None], LegendreSystem(6, 20.0)
        m, final = memory_across(part.cut(u), system, ranks=part)
        near(m, part.cut(memory_chunked(u, system)[0]), OUTPUTS)
        near(final, memory_chunked(u, system)[1], OUTPUTS)


def refusals(ranks: Ranks) -> None:
    """What cannot be spread over ranks says so."""
    ids = torch.randint(11, (2, 40))
    with sequence_parallel():
        with pytest.raises(ValueError, match="an LSTM is not linear"):
            make(LMUModel, model_type="lmu_lstm")(ids)
        with pytest.raises(ValueError, match="generation cannot be spread"):
            make(LMUForCausalLM).generate(ids, max_new_tokens=2)
        with pytest.raises(ValueError, match="generation cannot be spread"):
            next(make(LMUForCausalLM).stream(ids[0]))
        translator = make(LMUForConditionalGeneration, is_encoder_decoder=True, pad_token_id=0, bos_token_id=1)
        with pytest.raises(ValueError, match="attends to a source cannot be spread"):
            translator(ids, decoder_input_ids=ids)
        pair = make(LMUForSequencePairClassification, pooling="mean", alignment={"size": 2})
        with pytest.raises(ValueError, match="steps are aligned cannot be spread"):
            pair(ids, pair_input_ids=ids)
        with pytest.raises(ValueError, match="no real step in row 1"):
            mask = torch.ones(2, 40)
            mask[1] = 0
            make(LMUForSequenceClassification, num_labels=3)(ids, attention_mask=mask)
        with pytest.raises(ValueError, match="packed sequences cannot be spread"):
            make(LMUForCausalLM)(ids, position_ids=torch.arange(40)[None] % 20, use_cache=False)
        with pytest.raises(ValueError, match="cannot be cut"):
            ranks.cut(ids[:, : ranks.size - 1])


CHECKS = (
    memories,
    bytes_sent,
    bytes_per_step,
    stacks,
    hidden_losses,
    heads,
    language,
    data_parallel,
    subgroups,
    refusals,
)


def main() -> None:
    """The named checks, or all, on however many ranks there are."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    ranks = Ranks()
    try:
        for check in CHECKS:
            if {check.__name__, "all"} & set(sys.argv[1:]):
                began = time.perf_counter()
                torch.manual_seed(0)
                check(ranks)
                print(f"rank {ranks.rank}: {check.__name__} took {time.perf_counter() - began:.1f} s", flush=True)
        print(f"rank {ranks.rank} of {ranks.size} agrees: {worst}\n", end="", flush=True)
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
