"""What the last few tokens are together: vectors and votes of the n-grams that end at each token, found by hashing."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .cache_lmu import LMUCacheLayer
from .distributed import Ranks
from .layers import end_branch
from .layout import Layout, Packed
from .options_lmu import Option, option
from .plain import is_plain_tensor

MULTIPLIER = 2_654_435_761  # a prime beyond any number of buckets, so that every token of an n-gram counts
SHARPNESS = 10.0  # of the mean vote over a sequence: about what the few n-grams that matter in a review need
GAIN = 30.0  # of a weight over its parameter, for steps of Adam as small as those of the other weights


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
        _check_tokens(self.name, config)

    def count_numbers(self, config: Any) -> dict[str, int]:
        """Tables and projection."""
        numbers = len(self.sizes) * self.width * (self.buckets + config.hidden_size)
        return {"ngrams: sizes x buckets x width": numbers}


@option
@dataclass(frozen=True)
class Votes(Option):
    """``LMUConfig(votes={…})``: n-grams that vote for the class of their sequence.

    Args:
        sizes: lengths of n-grams, each from 1 to 64.
        buckets: votes for n-grams of each length; those of one hash share one.
        trained: the counted votes are weighed anew in training. False: they are a linear model's weights, found before
            training (:meth:`NGramVotes.write`) and left as they are.
    """

    name = "votes"

    sizes: list[int]
    buckets: int = 262_144
    trained: bool = True

    def __post_init__(self) -> None:
        self._check_lengths("sizes", range(1, 65))
        self._check_whole("buckets")
        if not isinstance(self.trained, bool):
            raise ValueError(f"votes: trained must be true or false, got {self.trained!r}")

    def check(self, config: Any) -> None:
        """Only tokens have n-grams."""
        _check_tokens(self.name, config)

    def count_numbers(self, config: Any) -> dict[str, int]:
        """A vote for each class, and a weight where they are trained."""
        return {"votes: sizes x buckets": len(self.sizes) * self.buckets * ((config.num_labels or 1) + self.trained)}


def _check_tokens(name: str, config: Any) -> None:
    if config.vocab_size is None:
        raise ValueError(f"{name} are of token ids; input_size={config.input_size} has none: leave {name} out")


class NGramRows(nn.Module):
    """Finds, for each token, the n-grams that end at it in tables, one for each length of n-grams.

    An n-gram's row is a hash of its token ids, so that rare ones share rows.

    Args:
        option: lengths of n-grams and rows of each table.
    """

    def __init__(self, option: NGrams | Votes) -> None:
        super().__init__()
        self.sizes, self.buckets = tuple(option.sizes), option.buckets
        self.carried = max(self.sizes) - 1  # tokens before the first one at hand that matter to it

    def find(
        self,
        ids: Tensor,
        packing: Layout | None = None,
        layer: LMUCacheLayer | None = None,
        ranks: Ranks | None = None,
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
        self, numbers: Tensor, packing: Layout | None, before: Tensor | None, ranks: Ranks
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
        super().__init__(option)
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
        ranks: Ranks | None = None,
    ) -> Tensor:
        """Vectors (b, n, d_o) of n tokens, zero where they are masked; arguments as for :meth:`find`."""
        vectors = self.tables(self.find(ids, packing, layer, ranks))
        if self.training and self.dropout:
            # (b·n, lengths, width): lengths stand for channels, so a whole vector is dropped at a time.
            vectors = F.dropout1d(vectors.flatten(0, 1), self.dropout).view_as(vectors)
        vectors = self.projection(vectors.flatten(-2))
        return vectors if packing is None else packing.unpack(vectors)


class VoteTable(nn.Embedding):
    """Rows that are zeros at first."""

    def reset_parameters(self) -> None:
        """As torch's own, called when the table is made."""
        nn.init.zeros_(self.weight)

    def draw_weights(self) -> None:
        """Nothing votes before it is counted."""
        nn.init.zeros_(self.weight)


class Balance(nn.Module):
    """Two numbers, ones at first: what the stack's logits count, and what the votes'. Chosen after training."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2), requires_grad=False)

    def draw_weights(self) -> None:
        """Both count in full."""
        nn.init.ones_(self.weight)


class NGramVotes(NGramRows):
    """What the n-grams of a sequence say of its class: naive Bayes, weighed anew in training; or a linear model.

    An n-gram votes for a class by the logarithm of how much more often sequences of that class hold it than those of
    the others, as :meth:`count` finds it, times a weight that is trained and begins at 1. (Wang and Manning, "Baselines
    and Bigrams", ACL 2012, weigh so the features of an SVM.) Before :meth:`count` nothing votes. In training, the votes
    alone and the stack alone are to decide each sequence, in use both together.

    Votes that are not trained are weights of a linear model of :meth:`shares`, which :meth:`write` enters; training is
    then the stack's alone.

    Args:
        option: lengths of n-grams, rows of each table, and how votes and stack are joined.
        classes: how many classes there are, at least 2 where votes are counted.

    Raises:
        ValueError: there is nothing to choose between.
    """

    def __init__(self, option: Votes, classes: int) -> None:
        if classes < 2 and option.trained:
            raise ValueError(f"votes are for one class against others: num_labels is {classes}")
        super().__init__(option)
        rows = len(self.sizes) * self.buckets
        self.odds = VoteTable(rows, classes).requires_grad_(False)  # counted, not trained
        self.change = VoteTable(rows, 1) if option.trained else None
        # What the stack and the votes count in use; both are ones where training has weighed the votes already.
        self.balance = None if option.trained else Balance()
        self._counted = False

    def forward(self, ids: Tensor, packing: Layout | None = None, ranks: Ranks | None = None) -> Tensor:
        """Votes (b, n, classes) of the n-grams that end at each of n tokens, zero where they are masked.

        Raises:
            RuntimeError: weights are to be trained of votes that were never counted.
        """
        if self.training and not self._counted and not torch.compiler.is_compiling():
            # By a call and not by its weight, which may be offloaded.
            self._counted = bool(self.odds(torch.arange(len(self.sizes) * self.buckets, device=ids.device)).any())
            if not self._counted:
                call = "write(votes)" if self.change is None else "count(sequences, labels)"
                raise RuntimeError(f"no n-gram has a vote yet: call votes.{call} before training")
        rows = self.find(ids, packing, ranks=ranks)
        votes = self.odds(rows)
        if self.change is not None:
            votes = votes * (1 + GAIN * self.change(rows))
        votes = SHARPNESS * votes.mean(-2)
        return votes if packing is None else packing.unpack(votes)

    def learners(self, stack: Tensor, votes: Tensor) -> tuple[Tensor, ...]:
        """Of both logits (b, classes), those that are to decide each sequence alone in training."""
        return (stack,) if self.change is None else (stack, votes)

    def join(self, stack: Tensor, votes: Tensor) -> Tensor:
        """Both logits (b, classes) as one."""
        if self.balance is None:
            return stack + votes
        of_stack, of_votes = self.balance.weight
        return of_stack * stack + of_votes * votes

    @torch.no_grad()
    def shares(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The rows that a sequence's n-grams are found in, and what its logits hold of the vote in each.

        Its logits are the sum over these rows of share times vote: so the votes are the weights of a linear model.

        Args:
            ids: (n,) token ids.
        """
        rows, counts = self.find(ids[None]).flatten().unique(return_counts=True)
        return rows, counts * (SHARPNESS / counts.sum())

    @torch.no_grad()
    def write(self, votes: Tensor, constant: Tensor | None = None) -> None:
        """Take on votes that were found elsewhere.

        Args:
            votes: (lengths of n-grams × buckets, classes), in the order of :meth:`shares`.
            constant: (classes,) what every sequence's logits are to hold beside.

        Raises:
            ValueError: the shape is another.
            RuntimeError: the table of votes is not there to be written: it is offloaded or quantised.
        """
        self._check_written()
        if votes.shape != self.odds.weight.shape:
            raise ValueError(f"votes must be {tuple(self.odds.weight.shape)}, got {tuple(votes.shape)}")
        # Shares add up to SHARPNESS, so a constant is that much of it in every row.
        self.odds.weight.copy_(votes if constant is None else votes + constant / SHARPNESS)

    @torch.no_grad()
    def set_balance(self, of_stack: float, of_votes: float) -> None:
        """Say what the stack's logits and the votes' count from now on.

        Raises:
            ValueError: the votes are trained, so that both count in full.
        """
        if self.balance is None:
            raise ValueError("votes that are trained have no balance to set: both count in full")
        self.balance.weight.copy_(torch.tensor([of_stack, of_votes]))

    def read_balance(self) -> tuple[float, float]:
        """What the stack's logits and the votes' count."""
        if self.balance is None:
            return 1.0, 1.0
        of_stack, of_votes = self.balance.weight.tolist()
        return of_stack, of_votes

    def _check_written(self) -> None:
        if not is_plain_tensor(self.odds.weight):
            raise RuntimeError("votes are written into the table odds: count them before it is offloaded or quantised")

    @torch.no_grad()
    def count(self, sequences: Iterable[Tensor], labels: Iterable[int]) -> None:
        """Find what every n-gram votes for.

        Of each class, c sequences of which hold an n-gram, log(c + 1) less its mean over classes, as if all classes
        had equally many sequences.

        Args:
            sequences: (n,) token ids of each.
            labels: the class of each.

        Raises:
            ValueError: a class has no sequence, or there is one label more or less than there are sequences.
            RuntimeError: the table of votes is not there to be written: it is offloaded or quantised.
        """
        self._check_written()
        held = torch.zeros_like(self.odds.weight, dtype=torch.float32)  # bfloat16 cannot count beyond 256
        sizes = torch.zeros_like(held[0])
        for ids, label in zip(sequences, labels, strict=True):
            held[self.find(ids[None]).unique(), label] += 1  # once a sequence, however often it holds one
            sizes[label] += 1
        if not bool(sizes.all()):
            raise ValueError(f"every class needs a sequence to count n-grams in; class {int(sizes.argmin())} has none")
        logs = torch.log1p(held * (sizes.mean() / sizes))
        self.odds.weight.copy_(logs - logs.mean(1, keepdim=True))
