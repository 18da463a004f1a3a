"""What the last few tokens are together: vectors of the n-grams that end at each token, found by hashing."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .cache_lmu import LMUCacheLayer
from .distributed import Ranks
from .layers import end_branch
from .ragged import Packing, Segments

MULTIPLIER = 2_654_435_761  # a prime beyond any number of buckets, so that every token of an n-gram counts


class NGramEmbedding(nn.Module):
    """Hashed n-gram embeddings (arXiv 2412.09871, section 3.2.1), to be added to the embeddings of the tokens.

    Each length of n-grams has a table of its own; an n-gram's row in it is a hash of its token ids, so that rare ones
    share rows. The rows of all lengths, side by side, are projected to the width of an embedding. Nothing is
    multiplied but in that projection: most of the parameters are looked up.

    Args:
        sizes: lengths of n-grams, each at least 2.
        buckets: rows of each table.
        width: numbers in a row.
        d_o: width of the result.
    """

    def __init__(self, sizes: Sequence[int], buckets: int, width: int, d_o: int) -> None:
        super().__init__()
        self.sizes, self.buckets = tuple(sizes), buckets
        self.carried = max(sizes) - 1  # tokens before the first one at hand that matter to it
        self.tables = nn.Embedding(len(sizes) * buckets, width)
        self.projection = nn.Linear(len(sizes) * width, d_o, bias=False)
        end_branch(self.projection)

    def forward(
        self,
        ids: Tensor,
        packing: Packing | Segments | None = None,
        layer: LMUCacheLayer | None = None,
        ranks: Ranks | None = None,
    ) -> Tensor:
        """Vectors (b, n, d_o) of n tokens.

        Args:
            ids: (b, n) token ids.
            packing: where rows have masked steps, whose vectors are zero, or hold several sequences.
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
        ages = packing.ages(ids.device) if isinstance(packing, Segments) else None
        rows = torch.stack([self._rows(numbers, size, ages) for size in self.sizes], dim=-1)
        first = torch.arange(len(self.sizes), device=rows.device) * self.buckets
        vectors = self.projection(self.tables(rows + first).flatten(-2))
        return vectors if packing is None else packing.unpack(vectors)

    def _rows(self, numbers: Tensor, size: int, ages: Tensor | None) -> Tensor:
        """(b, n): the row of the n-gram of one length that ends at each token, a polynomial of its ids."""
        n = numbers.shape[1] - self.carried
        rows = torch.zeros_like(numbers[:, :n])
        for back in reversed(range(size)):
            there = numbers[:, self.carried - back :][:, :n]
            if ages is not None:
                there = there.masked_fill(ages < back, 0)
            rows = (rows * MULTIPLIER + there) % self.buckets
        return rows

    def _behind(self, before: Tensor | None, numbers: Tensor) -> Tensor:
        """(b, carried + n): the numbers, behind those carried so far."""
        return F.pad(numbers, (self.carried, 0)) if before is None else torch.cat([before, numbers], dim=1)

    def _last(self, numbers: Tensor, packing: Packing | Segments | None) -> Tensor:
        """(b, carried): the last real tokens of each row."""
        if not isinstance(packing, Packing):
            return numbers[:, -self.carried :]
        place = packing.lengths[:, None] + torch.arange(self.carried, device=numbers.device)
        return numbers.gather(1, place)

    def _across(
        self, numbers: Tensor, packing: Packing | Segments | None, before: Tensor | None, ranks: Ranks
    ) -> tuple[Tensor, Tensor]:
        """(b, carried) each: the last real tokens before this rank's chunk, and those of the whole sequences."""
        lengths = packing.lengths if isinstance(packing, Packing) else torch.full_like(numbers[:, 0], numbers.shape[1])
        ends = ranks.gather(self._last(self._behind(None, numbers), packing))
        places = torch.arange(self.carried, device=numbers.device)
        entries = [torch.zeros_like(ends[0]) if before is None else before]
        for end, count in zip(ends, ranks.gather(lengths)[..., None], strict=True):
            older = entries[-1].gather(1, (places + count).clamp(max=self.carried - 1))
            entries.append(torch.where(places >= self.carried - count, end, older))
        return entries[ranks.rank], entries[-1]
