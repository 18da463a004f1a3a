"""Running text."""

from .base import Recipe, recipe


@recipe
def python_sources() -> Recipe:
    """Python's own sources, byte by byte, two minutes on two cores: what ``train_char_lm.py`` trains by default."""
    return Recipe(
        name="python-sources",
        kind="characters",
        data={"sequence_length": 256},
        architecture={
            "hidden_size": 96,
            "num_hidden_layers": 3,
            "order": 6,
            "theta": [8, 24, 96],
            "memory_channels": 32,
            "basis": "unit",
        },
        learning_rate=6e-3,
        batch_size=8,
        max_steps=1300,
        eval_steps=650,
        averaging=0.99,
        max_grad_norm=1.0,
    )
