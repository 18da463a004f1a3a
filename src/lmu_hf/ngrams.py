"""What the last few tokens are together: vectors of the n-grams that end at each token, found by hashing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .blocks_lmu import end_branch
from .cache_lmu import LMUCacheLayer
from .fields_lmu import Option, option
from .layout import Layout, Packed

MULTIPLIER = 2_654_435_761  # a prime beyond any number of buckets, so that every token of an n-gram counts


@option
@dataclass(frozen=True)
class NGrams(Option):
    """``LMUConfig(ngrams={…})``: vectors of n-grams beside those of tokens.

    Args:
        sizes: lengths of n-grams, each from 2 to 64.
        buckets: vectors for n-grams of each length; those of one hash share one.
        width: numbers in each, before they are projected to an embedding.
        dropout: how often a token goes without its n-gram of a length in training. Of a text that is read more than
            once, vectors learn what does not come again: so a stack learns to do without any of them.
    """

    name = "ngrams"

    sizes: list[int]
    buckets: int = 32_768
    width: int = 64
    dropout: float = 0.0

    def __post_init__(self) -> None:
        self._check_lengths("sizes", range(2, 65))
        self._check_whole("buckets")
        self._check_whole("width")
        self._check_probability("dropout")

    @property
    def carried(self) -> int:
        """The last tokens, which the n-grams of the next ones begin with."""
        return max(self.sizes) - 1

    def check(self, config: Any) -> None:
        """Only tokens have n-grams."""
        check_tokens(self.name, config)

    def count_numbers(self, config: Any) -> dict[str, int]:
        """Tables and projection."""
        numbers = len(self.sizes) * self.width * (self.buckets + config.hidden_size)
        return {"ngrams: sizes x buckets x width": numbers}


def check_tokens(name: str, config: Any) -> None:
    """Complain, in the name of an option, about a model that reads no tokens.

    Raises:
        ValueError: it reads a signal.
    """
    if config.vocab_size is None:
        raise ValueError(f"{name} are of token ids; input_size={config.input_size} has none: leave {name} out")


class NGramRows(nn.Module):
    """Finds, for each token, the n-grams that end at it in tables, one for each length of n-grams.

    An n-gram's row is a hash of its token ids, so that rare ones share rows.

    Args:
        sizes: lengths of n-grams.
        buckets: rows of each table.
    """

    def __init__(self, sizes: Sequence[int], buckets: int) -> None:
        super().__init__()
        self.sizes, self.buckets = tuple(sizes), buckets
        self.carried = max(self.sizes) - 1  # tokens before the first one at hand that matter to it

    def find(
        self,
        ids: Tensor,
        packing: Layout | None = None,
        layer: LMUCacheLayer | None = None,
        ranks: Any = None,
    ) -> Tensor:
        """Rows (b, n', lengths) of the n-grams of n' packed tokens, in tables that stand one behind another.

        Args:
            ids: (b, n) token ids.
            packing: where rows have masked steps, or hold several sequences.
            layer: holds the tokens before these, and is to hold the last of these.
            ranks: who shares the sequences; ``ids`` are then a chunk of them, and what the layer holds is the whole's.
        """
        numbers = (ids if packing is None else packing.pack(ids)).long() + 1  # 0 is no token
        before = None if layer is None else layer.tokens
        after = None
        if ranks is not None:
            before, after = self._across(numbers, packing, before, ranks)
        numbers = self._behind(before, numbers)
        if layer is not None:
            layer.update_tokens(self._last(numbers, packing) if after is None else after)
        # In a packed row, what stands before a sequence belongs to another one.
        ages = packing.ages(ids.device) if isinstance(packing, Packed) else None
        rows = torch.stack([self._rows(numbers, size, ages) for size in self.sizes], dim=-1)
        # All tables are one embedding: the rows of a length lie behind those of the lengths before it.
        return rows + torch.arange(len(self.sizes), device=rows.device) * self.buckets

    def _rows(self, numbers: Tensor, size: int, ages: Tensor | None) -> Tensor:
        """(b, n): the row of the n-gram of one length that ends at each token, a polynomial of its ids."""
        n = numbers.shape[1] - self.carried
        rows = torch.zeros_like(numbers[:, :n])
        for back in reversed(range(size)):
            there = numbers[:, self.carried - back :][:, :n]  # the token so many steps back
            if ages is not None:
                there = there.masked_fill(ages < back, 0)
            # Horner's rule modulo the buckets: below 2**31 times a 32-bit prime, nothing overflows int64.
            rows = (rows * MULTIPLIER + there) % self.buckets
        return rows

    def _behind(self, before: Tensor | None, numbers: Tensor) -> Tensor:
        """(b, carried + n): the numbers, behind those carried so far."""
        return F.pad(numbers, (self.carried, 0)) if before is None else torch.cat([before, numbers], dim=1)

    def _last(self, numbers: Tensor, packing: Layout | None) -> Tensor:
        """(b, carried): the last real tokens of each row."""
        if packing is None or packing.lengths is None:
            return numbers[:, numbers.shape[1] - self.carried :]
        # Numbers begin with those carried: the last of a row of k tokens stand at k … k + carried − 1.
        place = packing.lengths[:, None] + torch.arange(self.carried, device=numbers.device)
        return numbers.gather(1, place)

    def _across(
        self, numbers: Tensor, packing: Layout | None, before: Tensor | None, ranks: Any
    ) -> tuple[Tensor, Tensor]:
        """(b, carried) each: the last real tokens before this rank's chunk, and those of the whole sequences."""
        lengths = None if packing is None else packing.lengths
        lengths = torch.full_like(numbers[:, 0], numbers.shape[1]) if lengths is None else lengths
        ends = ranks.gather(self._last(self._behind(None, numbers), packing))
        places = torch.arange(self.carried, device=numbers.device)
        entries = [torch.zeros_like(ends[0]) if before is None else before]
        for end, count in zip(ends, ranks.gather(lengths)[..., None], strict=True):
            # A part shorter than what is carried keeps the newest of the tokens before it.
            older = entries[-1].gather(1, (places + count).clamp(max=self.carried - 1))
            entries.append(torch.where(places >= self.carried - count, end, older))
        return entries[ranks.rank], entries[-1]


class NGramEmbedding(NGramRows):
    """Hashed n-gram embeddings (arXiv 2412.09871, section 3.2.1), to be added to the embeddings of the tokens.

    The rows of all lengths, side by side, are projected to the width of an embedding. Nothing is multiplied but in that
    projection: most of the parameters are looked up.

    Args:
        option: sizes, buckets, width and dropout.
        d_o: width of the result.
        scale: how large the projection is at first, in units of its usual size.
    """

    def __init__(self, option: NGrams, d_o: int, scale: float = 1.0) -> None:
        super().__init__(option.sizes, option.buckets)
        tables = len(self.sizes)
        self.dropout = option.dropout
        self.tables = nn.Embedding(tables * self.buckets, option.width)
        self.projection = nn.Linear(tables * option.width, d_o, bias=False)
        end_branch(self.projection, scale=scale)

    def forward(
        self,
        ids: Tensor,
        packing: Layout | None = None,
        layer: LMUCacheLayer | None = None,
        ranks: Any = None,
    ) -> Tensor:
        """Vectors (b, n, d_o) of n tokens, zero where they are masked; arguments as for :meth:`find`."""
        vectors = self.tables(self.find(ids, packing, layer, ranks))
        if self.training and self.dropout:
            # (b·n, lengths, width): lengths stand for channels, so a whole vector is dropped at a time.
            vectors = F.dropout1d(vectors.flatten(0, 1), self.dropout).view_as(vectors)
        vectors = self.projection(vectors.flatten(-2))
        return vectors if packing is None else packing.unpack(vectors)
