"""The state of every random generator of a process, as tensors that a checkpoint can hold."""

import random

import numpy as np
import torch
from torch import Tensor


def random_state(**generators: torch.Generator) -> dict[str, Tensor]:
    """The states of torch's, numpy's and Python's own generators, and of those given by name."""
    # Of the Mersenne twister 624 words and a place in them; `gauss` is a second normal number kept for the next call.
    version, words, gauss = random.getstate()
    _, keys, place, has_gauss, cached = np.random.get_state(legacy=True)
    states: dict[str, Tensor] = {
        "torch": torch.get_rng_state(),
        "python": torch.tensor([version, *words], dtype=torch.int64),  # words have 32 bits, unsigned
        # None is no number, so a flag says whether there is one.
        "python_gauss": torch.tensor([gauss is not None, gauss or 0.0], dtype=torch.float64),
        # The first part, the generator's name, is always MT19937 here.
        "numpy": torch.from_numpy(np.append(keys, [place, has_gauss]).astype(np.int64)),
        "numpy_gauss": torch.tensor([cached], dtype=torch.float64),
    }
    states |= {f"cuda.{number}": state for number, state in enumerate(_cuda_states())}
    return states | {f"generator.{name}": generator.get_state() for name, generator in generators.items()}


def restore_random_state(states: dict[str, Tensor], **generators: torch.Generator) -> None:
    """Put every generator back to where :func:`random_state` found it."""
    torch.set_rng_state(states["torch"])
    version, *words = states["python"].tolist()
    has_gauss, gauss = states["python_gauss"].tolist()
    random.setstate((version, tuple(words), gauss if has_gauss else None))
    *keys, place, has_gauss = states["numpy"].tolist()
    np.random.set_state(("MT19937", np.array(keys, np.uint32), place, has_gauss, states["numpy_gauss"].item()))
    for number in range(len(_cuda_states())):
        torch.cuda.set_rng_state(states[f"cuda.{number}"], number)
    for name, generator in generators.items():
        generator.set_state(states[f"generator.{name}"])


def _cuda_states() -> list[Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
