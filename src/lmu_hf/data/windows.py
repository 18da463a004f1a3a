"""A text's tokens as rows of one length: windows that predict every token once."""

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .corpus import Tokens


class Windows(Dataset):
    """A text's tokens cut into windows of ``length`` predictions, each with up to ``context`` tokens before them.

    Window i predicts tokens i·length + 1 … (i + 1)·length, so every token but the first is predicted once. A batch is
    handed out whole: ``input_ids`` and ``labels`` (b, context + length + 1), padded where the text begins or ends.
    Row k·len + i is window i moved k tokens to the right, as far as the text goes.

    Args:
        tokens: the whole text's, at least two.
        length: predictions a window.
        context: tokens that are read before them and not judged.
        drop_last: leave the shorter last window out, if there is another.
    """

    def __init__(self, tokens: Tokens, length: int, context: int = 0, drop_last: bool = False) -> None:
        if len(tokens) < 2:
            raise ValueError(
                f"a text needs at least two tokens, one to predict from and one to predict; got {len(tokens)}"
            )
        predictions = len(tokens) - 1  # the first token has nothing to be predicted from
        self.tokens, self.length = tokens, min(length, predictions)
        self.windows = predictions // self.length if drop_last else -(-predictions // self.length)
        self.context = context if self.windows > 1 else 0  # nothing stands before the first

    def __len__(self) -> int:
        return self.windows

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """A batch of one window."""
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        """A batch of windows: what torch's loader asks for first."""
        shape = len(indices), self.context + self.length + 1  # one token more: the model shifts labels by itself
        ids, real = np.zeros(shape, np.int64), np.zeros(shape, bool)
        for row, index in enumerate(indices):
            begin = self._start(index) - self.context
            low, high = max(begin, 0), min(begin + shape[1], len(self.tokens))  # where the text is; the rest is padding
            ids[row, low - begin : high - begin] = self.tokens.read(low, high)
            real[row, low - begin : high - begin] = True
        # The first token of a row and its context are read and not judged.
        judged = real & (np.arange(shape[1]) > self.context)
        batch = {"input_ids": torch.from_numpy(ids), "labels": torch.from_numpy(np.where(judged, ids, -100))}
        # A mask only where there is padding.
        return batch if real.all() else {**batch, "attention_mask": torch.from_numpy(real.astype(np.int64))}

    def _start(self, index: int) -> int:
        shift, window = divmod(index, self.windows)  # see the class: rows beyond the last are shifted ones
        start = window * self.length
        # A shifted window ends with the text at the latest.
        return start if not shift else max(min(start + shift, len(self.tokens) - 1 - self.length), 0)
