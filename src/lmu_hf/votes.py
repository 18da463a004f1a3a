"""Votes for the class of a sequence, by the n-grams that it holds."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks_lmu import NGramRows, check_tokens
from .fields_lmu import Option, option
from .layers import is_plain_tensor
from .layout import Layout
from .words_lmu import PIECES, WordTable

SHARPNESS = 10.0  # of the mean vote over a sequence: about what the few n-grams that matter in a review need
PLACES = 3  # of an n-gram of a pair: the first sequence alone, the second alone, or both
SMALLEST = 1e-12  # of a mean square that is divided by
GAIN = 30.0  # of a weight over its parameter, for steps of Adam as small as those of the other weights


@option
@dataclass(frozen=True)
class Votes(Option):
    """``LMUConfig(votes={…})``: n-grams that vote for the class of their sequence.

    Args:
        sizes: lengths of n-grams, each from 1 to 64.
        buckets: votes for n-grams of each length; those of one hash share one.
        trained: the counted votes are weighed anew in training. False: they are a linear model's weights, found before
            training (:meth:`NGramVotes.write`) and left as they are.
        normed: the sum of such votes over a sequence is divided by the length of the vector of its n-grams' norms, as
            rows of tf-idf have unit length: so neither length nor rare n-grams make a sequence more certain.
        words: n-grams are of words, each of which may be cut into several tokens (:class:`~.words_lmu.WordTable`).

    Raises:
        ValueError: votes that are trained are to be normed, or of words.
    """

    name = "votes"

    sizes: list[int]
    buckets: int = 262_144
    trained: bool = True
    normed: bool = False
    words: bool = False

    def __post_init__(self) -> None:
        self._check_lengths("sizes", range(1, 65))
        self._check_whole("buckets")
        for entry in ("trained", "normed", "words"):
            if not isinstance(value := getattr(self, entry), bool):
                raise ValueError(f"votes: {entry} must be true or false, got {value!r}")
        for entry in ("normed", "words"):
            if getattr(self, entry) and self.trained:
                raise ValueError(f"votes: {entry} needs trained false: it is for votes that a linear model has found")

    def check(self, config: Any) -> None:
        """Only tokens have n-grams."""
        check_tokens(self.name, config)

    def count_numbers(self, config: Any) -> dict[str, int]:
        """A vote for each class, and a weight where they are trained, or a norm where they are normed."""
        columns = (config.num_labels or 1) + (self.trained or self.normed)
        places = PLACES if "LMUForSequencePairClassification" in (config.architectures or ()) else 1
        return {"votes: sizes x buckets": places * len(self.sizes) * self.buckets * columns}


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


class Constant(nn.Module):
    """What logits hold beside votes, zeros at first.

    Args:
        shape: ends in the classes.
    """

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape), requires_grad=False)

    def draw_weights(self) -> None:
        """Nothing beside the votes before they are written."""
        nn.init.zeros_(self.weight)


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
        vocab_size: how many tokens, where n-grams are of words.
        places: how many tables there are for n-grams of each length, by where they stand.

    Raises:
        ValueError: there is nothing to choose between.
    """

    def __init__(self, option: Votes, classes: int, vocab_size: int = 0, places: int = 1) -> None:
        if classes < 2 and option.trained:
            raise ValueError(f"votes are for one class against others: num_labels is {classes}")
        super().__init__(option.sizes, option.buckets)
        self.words = WordTable(vocab_size) if option.words else None
        rows = places * len(self.sizes) * self.buckets
        if self.words is not None:
            self.carried = PIECES * max(self.sizes) + 1
            self.nothing, rows = rows, rows + 1  # the last row stays zeros
        self.odds = VoteTable(rows, classes).requires_grad_(False)  # counted, not trained
        self.change = VoteTable(rows, 1) if option.trained else None
        # What the stack and the votes count in use; both are ones where training has weighed the votes already.
        self.balance = None if option.trained else Balance()
        # Squares, since it is these that are averaged over a sequence.
        self.squares = VoteTable(rows, 1).requires_grad_(False) if option.normed else None
        self.constant = Constant(classes) if option.normed else None
        self._counted = False

    def forward(self, ids: Tensor, packing: Layout | None = None, ranks: Any = None) -> Tensor:
        """Votes (b, n, classes) of the n-grams that end at each of n tokens, zero where they are masked.

        Where votes are normed, the squared norm is one more column: (b, n, classes + 1), for :meth:`finish`.

        Raises:
            RuntimeError: weights are to be trained of votes that were never counted.
        """
        self._check_found(ids.device)
        votes = self._votes_of(self.find(ids, packing, ranks=ranks))
        return votes if packing is None else packing.unpack(votes)

    def _votes_of(self, rows: Tensor) -> Tensor:
        """(b, n, columns): what each token votes by its rows and, where votes are normed, its squared norm."""
        votes = self.odds(rows)
        if self.change is not None:
            votes = votes * (1 + GAIN * self.change(rows))
        votes = SHARPNESS * self._of_tokens(votes)
        return votes if self.squares is None else torch.cat([votes, self._of_tokens(self.squares(rows))], dim=-1)

    def _check_found(self, device: torch.device) -> None:
        if not self.training or self._counted or torch.compiler.is_compiling():
            return
        # By a call and not by its weight, which may be offloaded.
        self._counted = bool(self.odds(torch.arange(self.odds.num_embeddings, device=device)).any())
        if not self._counted:
            call = "write(votes)" if self.change is None else "count(sequences, labels)"
            raise RuntimeError(f"no n-gram has a vote yet: call votes.{call} before training")

    def _of_tokens(self, found: Tensor) -> Tensor:
        """(b, n, columns) of each token, the mean over lengths of what its rows hold."""
        # A token that goes on with a word takes back what the word's beginning has said: sums are over whole words.
        return (found if self.words is None else found[:, :, 0] - found[:, :, 1]).mean(-2)

    def _look(self, numbers: Tensor, ages: Tensor | None) -> Tensor:
        """As of :class:`NGramRows`; of words (b, n, 2, lengths), those so far and those before this token."""
        if self.words is None:
            return super()._look(numbers, ages)
        if ages is not None:
            ages = F.pad(ages.expand(len(numbers), -1), (self.carried, 0))
        words, goes_on = self.words.read(numbers, ages, max(self.sizes))
        now = self._stack([self._hash(words[:size].flip(0)) for size in self.sizes])
        before = now[:, self.carried - 1 : -1].where(goes_on[:, self.carried :, None], self.nothing)
        return torch.stack([now[:, self.carried :], before], dim=2)

    def finish(self, means: Tensor, ids: Tensor, packing: Layout | None = None, ranks: Any = None) -> Tensor:
        """Logits (b, classes) of sequences, of the mean over each of what :meth:`forward` gives of the same."""
        return means if self.constant is None else self._normed(means, count_steps(ids, packing, ranks)[:, None])

    def _normed(self, means: Tensor, steps: Tensor) -> Tensor:
        """Logits (b, classes), where votes are normed, of the mean (b, classes + 1) over so many steps (b, 1)."""
        if self.constant is None:
            return means
        votes, squares = means[:, :-1], means[:, -1:]
        # Of n steps with votes v and squared norms s², Σ v / √(Σ s²) = √n · mean(v) / √mean(s²). A sequence without a
        # known n-gram has neither votes nor a norm: its logits are the constant.
        return steps.to(means.dtype).sqrt() * votes * squares.clamp(min=SMALLEST).rsqrt() + self.constant.weight

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
        Where votes are normed, that sum is divided as :meth:`finish` does.

        Args:
            ids: (n,) token ids.
        """
        found = self.find(ids[None])[0]
        if self.words is not None:  # a word is whole where the next token does not go on with it
            found = found[:, 0][F.pad(found[1:, 1, 0] == self.nothing, (0, 1), value=True)]
        rows, counts = found.flatten().unique(return_counts=True)
        return rows, counts * (SHARPNESS / (len(ids) * len(self.sizes)))

    @torch.no_grad()
    def write(self, votes: Tensor, constant: Tensor | None = None, squares: Tensor | None = None) -> None:
        """Take on votes that were found elsewhere.

        Args:
            votes: (lengths of n-grams × buckets, classes), in the order of :meth:`shares`; of words one row more.
            constant: (classes,) what every sequence's logits are to hold beside.
            squares: (lengths of n-grams × buckets,) squared norms, where votes are normed; None for ones, so that
                nothing is divided.

        Raises:
            ValueError: the shape is another, or squares are given and votes are not normed.
            RuntimeError: the table of votes is not there to be written: it is offloaded or quantised.
        """
        self._check_written()
        if votes.shape != self.odds.weight.shape:
            raise ValueError(f"votes must be {tuple(self.odds.weight.shape)}, got {tuple(votes.shape)}")
        if self.squares is None or self.constant is None:
            if squares is not None:
                raise ValueError("these votes are not normed: leave squares out, or make them with normed=True")
            # Shares add up to SHARPNESS, so a constant is that much of it in every row.
            self.odds.weight.copy_(votes if constant is None else votes + constant / SHARPNESS)
            return
        self.odds.weight.copy_(votes)
        self.constant.weight.copy_(torch.zeros_like(self.constant.weight) if constant is None else constant)
        self.squares.weight.copy_(torch.ones_like(self.squares.weight) if squares is None else squares[:, None])

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


def count_steps(ids: Tensor, packing: Layout | None, ranks: Any = None) -> Tensor:
    """(sequences,) how many steps each has, over all ranks."""
    if packing is not None and packing.sequences is not None:
        return torch.tensor(packing.sequences.lengths, device=ids.device)
    lengths = None if packing is None else packing.lengths
    lengths = torch.full_like(ids[:, 0], ids.shape[1]) if lengths is None else lengths
    return lengths if ranks is None else torch.stack(list(ranks.gather(lengths))).sum(0)
