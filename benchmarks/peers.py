"""Language models of other families and of a stated size, to time ours beside."""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, MambaConfig, MambaForCausalLM

from lmu_hf import LMUConfig, LMUForCausalLM
from lmu_hf.cli.flags import POSITIVE, ScriptParser

VOCABULARY = 256


def add_sizes(parser: ScriptParser) -> None:
    """Add the flag that says how large the models are."""
    parser.add_argument(
        "--sizes",
        type=POSITIVE,
        nargs="+",
        default=[2e6, 20e6],
        help="parameters of each model outside its embeddings and its head (default: %(default)s)",
    )


class LSTMLanguageModel(nn.Module):
    """Torch's own LSTM with embeddings and a head, stepped by a loop as plain as can be."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCABULARY, width)
        self.lstm = nn.LSTM(width, width, num_layers=layers, batch_first=True)
        self.lm_head = nn.Linear(width, VOCABULARY, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Tokens (b, n) to logits (b, n, vocabulary)."""
        return self.lm_head(self.lstm(self.embed_tokens(ids))[0])

    def steps(self, ids: Tensor, tokens: int) -> Iterator[Tensor]:
        """Some tokens behind a prompt (b, n), one (b, 1) after another."""
        state = None
        for _ in range(tokens):
            hidden, state = self.lstm(self.embed_tokens(ids), state)
            ids = self.lm_head(hidden[:, -1:]).argmax(-1)
            yield ids.cpu()


def lmu(width: int, layers: int, positions: int) -> Any:
    """Residual blocks with a dense readout of four coefficients of each of width / 4 channels."""
    thetas = [8.0 * 2**layer for layer in range(layers)]
    fields: Any = {"hidden_size": width, "num_hidden_layers": layers, "memory_channels": width // 4, "theta": thetas}
    return LMUForCausalLM(LMUConfig(vocab_size=VOCABULARY, order=4, hidden_act="silu", norm="layer", **fields))


def mamba(width: int, layers: int, positions: int) -> Any:
    """Transformers' Mamba with its defaults."""
    fields: Any = {"hidden_size": width, "num_hidden_layers": layers}
    return MambaForCausalLM(MambaConfig(vocab_size=VOCABULARY, eos_token_id=None, **fields))


def gpt2(width: int, layers: int, positions: int) -> Any:
    """Transformers' GPT-2 with four heads and no dropout."""
    fields: Any = {"n_embd": width, "n_layer": layers, "n_head": 4, "n_positions": positions}
    fields |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, bos_token_id=None, eos_token_id=None, **fields))


def lstm(width: int, layers: int, positions: int) -> Any:
    """Torch's own."""
    return LSTMLanguageModel(width, layers)


FAMILIES: dict[str, Callable[[int, int, int], Any]] = {
    "LMU": lmu,
    "Mamba": mamba,  # twice as many of its blocks, for each is half a block of the others (mamba-130m has 24, GPT-2 12)
    "Mamba shallow": mamba,  # as many
    "GPT-2": gpt2,
    "LSTM": lstm,
}


def body_size(model: Any) -> int:
    """Parameters outside embeddings and head."""
    outside = {id(p) for module in model.modules() if isinstance(module, nn.Embedding) for p in module.parameters()}
    outside |= {id(p) for p in model.lm_head.parameters()}
    return sum(p.numel() for p in model.parameters() if id(p) not in outside)


def build(family: str, size: float, positions: int) -> Any:
    """The model whose width, a multiple of 16, brings it nearest to a size.

    Args:
        family: one of :data:`FAMILIES`.
        size: parameters outside embeddings and head.
        positions: tokens of the longest sequence.

    Raises:
        ValueError: no width comes within 10 % of the size.
    """
    layers = (4 if size < 5e6 else 8) * (2 if family == "Mamba" else 1)

    def count(width: int) -> int:
        with torch.device("meta"):
            return body_size(FAMILIES[family](width, layers, positions))

    widths = range(16, 4096, 16)
    above = bisect_left(widths, size, key=count)
    width = min(widths[max(above - 1, 0) : above + 1], key=lambda width: abs(count(width) - size))
    torch.manual_seed(0)
    model = FAMILIES[family](width, layers, positions)
    off = body_size(model) / size - 1
    if abs(off) > 0.1:
        raise ValueError(
            f"no width brings {family} within 10 % of {size:,.0f} parameters; the nearest is {off:+.0%} off"
        )
    return model


def reason_against(model: Any, batch: int, length: int, training: bool = False) -> str | None:
    """Why a model is not run on a batch of sequences; None if nothing speaks against it.

    Mamba's plain scan writes two arrays of a state per channel and step; trained, it keeps four in every layer.
    """
    if not isinstance(model, MambaForCausalLM):
        return None
    arrays = 4 * model.config.num_hidden_layers if training else 2
    needed = 4 * arrays * batch * length * model.config.intermediate_size * model.config.state_size
    if needed <= (memory := psutil.virtual_memory().total) / 4:
        return None
    return f"its scan would write {needed / 2**30:.0f} GiB, over a quarter of the machine's {memory >> 30}"
