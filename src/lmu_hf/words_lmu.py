"""Words of several tokens: where each begins, and a number for it that does not depend on how it is cut."""

from collections.abc import Collection, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PIECES = 8  # tokens of a word that count: of a longer one the last
PRIME, BASE = 2**31 - 1, 1_000_003  # of a word's number, a polynomial of its bytes; products stay within int64
COLUMNS = ("number", "power", "begins inside", "ends inside")


class WordTable(nn.Module):
    """What a vocabulary of byte pairs says of words: a word is a run of letters, digits and marks, or another token.

    A token goes on with the word of the token before where both letters stand side by side. The space before a word is
    no part of it.

    Args:
        vocab_size: how many tokens there are; :meth:`write` says what they are.
    """

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        # Row 0 is no token.
        self.pieces: Tensor
        self.register_buffer("pieces", torch.zeros(vocab_size + 1, len(COLUMNS), dtype=torch.int32))

    def draw_weights(self) -> None:
        """No token is a part of a word before they are written."""
        nn.init.zeros_(self.pieces)

    @torch.no_grad()
    def write(self, tokens: Sequence[bytes], special: Collection[int] = ()) -> None:
        """Take on a vocabulary.

        Args:
            tokens: the bytes of each.
            special: ids of those that are no text.

        Raises:
            ValueError: there are more or fewer tokens than the table has rows for.
        """
        if len(tokens) != len(self.pieces) - 1:
            raise ValueError(f"the table is of {len(self.pieces) - 1:,} tokens, got {len(tokens):,}")
        rows = [_piece(token, alone=number in special) for number, token in enumerate(tokens)]
        self.draw_weights()
        self.pieces[1:] = torch.tensor(rows, dtype=torch.int32)

    def find_integer_fault(self, pieces: Tensor) -> str | None:
        """What is wrong with numbers that are to be this table; None if nothing is."""
        sound = not pieces.is_floating_point() and int(pieces.min()) >= 0 and int(pieces[:, 2:].max()) <= 1
        return None if sound else "must hold whole numbers from 0, in its last two columns 0 or 1"

    def read(self, numbers: Tensor, ages: Tensor | None, words: int) -> tuple[Tensor, Tensor]:
        """The last words at each of m tokens, so far as they are read.

        What is said of a token depends on ``PIECES * words + 1`` tokens before it and on no others.

        Args:
            numbers: (b, m) ids and one more; 0 is no token.
            ages: (b, m) how many tokens of the sequence stand before each, where a row holds several; else None.
            words: how many.

        Returns:
            ``(words, b, m)`` numbers of the word that each token is in, the one before and so on, 0 for none; and
            (b, m) whether a token goes on with the word of the token before.
        """
        known = numbers < len(self.pieces)  # a token that was added to the vocabulary later is a word by itself
        pieces = self.pieces[numbers.where(known, 0)].long().unbind(-1)
        number, power, inside = pieces[0].where(known, numbers % PRIME), pieces[1], pieces[2].bool()
        goes_on = inside & _back(pieces[3], 1).bool()
        if ages is not None:
            goes_on = goes_on & (ages > 0)
        word, scale, length = torch.zeros_like(number), torch.ones_like(number), torch.zeros_like(number)
        inside = torch.ones_like(goes_on)
        for back in range(PIECES):
            word = (word + inside * (_back(number, back) * scale % PRIME)) % PRIME
            scale = scale * _back(power, back) % PRIME
            length = length + inside
            inside = inside & _back(goes_on, back)
        word = (word + 1).where(numbers > 0, 0)
        # Where the token before a word stands: nowhere if the word is too long or begins the sequence.
        place = torch.arange(numbers.shape[1], device=numbers.device) - length
        place = place.where(~inside & (place >= 0), -1)
        if ages is not None:
            place = place.where(ages >= length, -1)
        found, at = [word], place
        for _ in range(1, words):
            there = at.clamp(min=0)
            found.append(word.gather(1, there).where(at >= 0, 0))
            at = place.gather(1, there).where(at >= 0, -1)
        return torch.stack(found), goes_on


def _back(values: Tensor, steps: int) -> Tensor:
    """(b, m): the value so many tokens back, zero where there is none."""
    return F.pad(values, (steps, 0))[:, : values.shape[1]] if steps else values


def _piece(token: bytes, alone: bool) -> list[int]:
    """A token's row of the table."""
    text = token.removeprefix(b" ") or token
    number = 0
    for byte in text:
        number = (number * BASE + byte + 1) % PRIME
    inside = not alone and text is token
    return [
        number,
        pow(BASE, len(text), PRIME),
        int(inside and _is_letter(token[:1])),
        int(not alone and _is_letter(token[-1:])),
    ]


def _is_letter(byte: bytes) -> bool:
    # What is not ASCII is mostly a letter, and a part of one says no more.
    return bool(byte) and (byte >= b"\x80" or byte.isalnum() or byte == b"_")
