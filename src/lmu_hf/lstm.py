"""Torch's LSTM under the contract of the LMU's layer."""

import torch
from torch import Tensor, nn

from .chunks import Sequences
from .layout import Layout, Reading

State = tuple[Tensor, Tensor]  # torch's hidden and cell states, each (directions, b, units)


class OpenLSTM(nn.LSTM):
    """Torch's LSTM, whose forget gate starts open.

    A class of its own, and no rule of the layer around it: transformers has fresh weights drawn only by modules that
    hold some themselves.
    """

    def draw_weights(self) -> None:
        """As torch leaves them, but for the second quarter of a bias, which is the forget gate's."""
        units = self.hidden_size
        for name, parameter in self.named_parameters():
            nn.init.uniform_(parameter, -(units**-0.5), units**-0.5)
            # torch adds two biases in each gate, in the order input, forget, cell, output: one of the two is opened.
            if name.startswith("bias_hh"):
                nn.init.ones_(parameter[units : 2 * units])


class LSTMLayer(nn.Module):
    """Torch's LSTM under the contract of :class:`LMULayer`: what an LMU is measured against, in the same blocks.

    Its carried state is (b, d_o, 2): the hidden state and the cell state of every unit.

    Args:
        d_x: input width.
        d_o: output width.
        bidirectional: half of the units read the sequence backwards; d_o must be even.
    """

    def __init__(self, d_x: int, d_o: int, bidirectional: bool = False) -> None:
        super().__init__()
        if bidirectional and d_o % 2:
            raise ValueError(
                f"a bidirectional LSTM has half of its units in each direction: d_o must be even, got {d_o}"
            )
        self.d_o = d_o
        self.lstm = OpenLSTM(d_x, d_o // 2 if bidirectional else d_o, batch_first=True, bidirectional=bidirectional)

    is_linear_in_memory = False
    last_projections: tuple[nn.Linear, ...] = ()  # what an LSTM puts out has passed none

    @property
    def state_size(self) -> int:
        """How many numbers one row carries from step to step."""
        return 2 * self.d_o

    def forward(
        self,
        x: Tensor,
        initial: Tensor | None = None,
        reading: Reading | None = None,
        return_final: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As :meth:`LMULayer.forward`, with states (b, d_o, 2).

        Raises:
            ValueError: only the last step is asked of a bidirectional layer, or only the mean of any; the sequence lies
                over several ranks, packed sequences are to go on from a state, or a state is of another shape.
        """
        reading = Reading(Layout(x.shape[1])) if reading is None else reading
        layout = reading.layout
        if reading.wanted == "mean":
            raise ValueError("the mean alone asks for a layer that is linear in its memory; an LSTM is not")
        if layout.sequences is not None and initial is not None:
            raise ValueError("packed sequences begin with empty memories: leave initial out")
        if layout.ranks is not None:
            raise ValueError("an LSTM is not linear: it must read a sequence on one rank, not in parts on several")
        if self.lstm.bidirectional and reading.wanted == "last":
            raise ValueError("the last step alone asks for a causal layer; this one is bidirectional")
        before = None
        if initial is not None:
            if initial.shape != (wanted := (x.shape[0], self.d_o, 2)):
                got = f"{tuple(initial.shape)}: a carried state, in a cache say, fits the model that wrote it alone"
                raise ValueError(f"initial must be (batch, units, 2) = {wanted}, got {got}")
            # (b, d_o, 2) to two of torch's (1, b, units): only causal layers, of one direction, carry a state.
            hidden, cell = initial.to(x.dtype).permute(2, 0, 1).contiguous()[:, None]
            before = (hidden, cell)
        if layout.sequences is not None:
            output, after = self._packed(x, layout.sequences)
        elif layout.lengths is not None:
            output, after = self._ragged(x, before, layout.lengths)
        else:
            output, after = self.lstm(x, before)
        if reading.wanted == "last":
            # The last hidden state: of ragged rows, torch keeps the one at each row's own end.
            output = after[0][0][:, None]
        return output, torch.stack([part[0] for part in after], dim=-1) if return_final else None

    def _packed(self, x: Tensor, sequences: Sequences) -> tuple[Tensor, State]:
        """Of sequences packed in one row (1, n, d_x)."""
        # torch sorts by length inside, and gives everything back in this order.
        rows = nn.utils.rnn.pack_sequence(x[0].split(sequences.lengths), enforce_sorted=False)
        packed, after = self.lstm(rows)
        return torch.cat(nn.utils.rnn.unpack_sequence(packed))[None], after

    def _ragged(self, x: Tensor, before: State | None, lengths: Tensor) -> tuple[Tensor, State]:
        """Of rows that end at ``lengths``. A row without a step, which torch does not take, keeps its state."""
        # torch takes these lengths on the CPU only.
        rows = nn.utils.rnn.pack_padded_sequence(x, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
        packed, after = self.lstm(rows, before)
        output = nn.utils.rnn.pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])[0]
        empty = (lengths == 0)[:, None]
        output = output.masked_fill(empty[..., None], 0)
        hidden, cell = (torch.where(empty, 0 if before is None else before[i], after[i]) for i in range(2))
        return output, (hidden, cell)
