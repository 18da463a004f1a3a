"""What holds for any legal model and any batch; LMU_HF_EXAMPLES=5000 draws so many of each instead of 40."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from lmu_hf import LMUConfig, LMUModel
from test_configuration import legal_fields
from tiny_stacks import EVERY, build, randomised

STACKS = {name: {dtype: build(EVERY[name], dtype) for dtype in (torch.float64, torch.float32)} for name in EVERY}
# float64: as the forms of the memory agree. float32: some hundred roundings, of a stack whose weights are large.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}
seeds = st.integers(0, 2**31 - 1)


def drawn(config: LMUConfig, b: int, n: int, seed: int) -> tuple[str, Tensor]:
    """What a model of this config reads: the argument and b rows of n steps."""
    generator = torch.Generator().manual_seed(seed)
    if config.vocab_size is not None:
        return "input_ids", torch.randint(0, config.vocab_size, (b, n), generator=generator)
    return "input_values", torch.randn(b, n, config.input_size, generator=generator, dtype=torch.float64)


def assert_same(actual: Tensor, expected: Tensor, what: str) -> None:
    scale = max(expected.abs().max().item(), 1.0)
    tolerance = TOLERANCE[actual.dtype] * scale
    assert_close(actual, expected, rtol=0, atol=tolerance, msg=lambda text: f"{what}: {text}")


@st.composite
def holed(draw, b: int, n: int) -> Tensor:
    """Any mask (b, n) that leaves each row a real step."""
    row = st.lists(st.booleans(), min_size=n, max_size=n).filter(any)
    return torch.tensor(draw(st.lists(row, min_size=b, max_size=b)))


@st.composite
def cuts(draw, n: int) -> list[int]:
    """Lengths of pieces that make up n steps."""
    ends = sorted(draw(st.sets(st.integers(1, n), max_size=4)) | {n})
    return [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]


@given(fields=legal_fields(), n=st.integers(1, 12), seed=seeds, data=st.data())
def test_any_legal_model_skips_holes_and_goes_on_from_any_cut(fields, n, seed, data):
    model = randomised(LMUModel(LMUConfig(**fields)))
    name, rows = drawn(model.config, 2, n, seed)
    mask, lengths = data.draw(holed(2, n)), data.draw(cuts(n))
    with torch.no_grad():
        states = model(**{name: rows}, attention_mask=mask, use_cache=False).last_hidden_state
        assert not states[~mask].any()
        for row, real in enumerate(mask):
            alone = model(**{name: rows[row : row + 1, real]}, use_cache=False).last_hidden_state
            assert_same(states[row, real], alone[0], "holes")
        if not model.config.bidirectional:
            pieces, cache = [], None
            for piece in rows.split(lengths, dim=1):
                output = model(**{name: piece}, past_key_values=cache, use_cache=True)
                pieces.append(output.last_hidden_state)
                cache = output.past_key_values
            whole = model(**{name: rows}, use_cache=False).last_hidden_state
            assert_same(torch.cat(pieces, 1), whole, "pieces")


def description(way: str, lengths: list[list[int]], b: int, n: int) -> dict[str, Tensor]:
    """Where the sequences of b rows of n steps start, as transformers' collators say it."""
    if way == "position_ids":
        return {way: torch.stack([torch.cat([torch.arange(length) for length in row]) for row in lengths])}
    if way == "seq_idx":
        rows = [torch.cat([torch.full((length,), place) for place, length in enumerate(row)]) for row in lengths]
        return {way: torch.stack(rows).int()}
    return {way: torch.tensor([0, *lengths[0]]).cumsum(0)}


@given(
    name=st.sampled_from(sorted(STACKS)),
    dtype=st.sampled_from(sorted(TOLERANCE, key=str)),
    way=st.sampled_from(["position_ids", "seq_idx", "cu_seq_lens_q", "mask"]),
    n=st.integers(1, 40),
    seed=seeds,
    data=st.data(),
)
def test_any_layout_holds_each_sequence_as_if_alone(name, dtype, way, n, seed, data):
    model = STACKS[name][dtype]
    b = 1 if way == "cu_seq_lens_q" else data.draw(st.integers(1, 3))
    argument, rows = drawn(model.config, b, n, seed)
    with torch.no_grad():
        if way == "mask":
            mask = data.draw(holed(b, n))
            states = model(**{argument: rows}, attention_mask=mask, use_cache=False).last_hidden_state
            sequences = [(states[row, real], rows[row, real]) for row, real in enumerate(mask)]
        else:
            lengths = [data.draw(cuts(n)) for _ in range(b)]
            starts = description(way, lengths, b, n)
            states = model(**{argument: rows}, **starts, use_cache=False).last_hidden_state
            sequences = [
                pair
                for row, pieces in enumerate(lengths)
                for pair in zip(states[row].split(pieces), rows[row].split(pieces), strict=True)
            ]
        for read, sequence in sequences:
            alone = model(**{argument: sequence[None]}, use_cache=False).last_hidden_state[0]
            assert_same(read, alone, f"{way} of {name}")
