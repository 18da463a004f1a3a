"""Texts whose words have a tag each."""

from .base import Recipe, recipe


@recipe
def names() -> Recipe:
    """Made-up sentences with names of people and places: the default of ``lmu-hf train tokens``. No record.

    Cost: half a minute of one core, no download.
    Source: made up here.
    """
    return Recipe(
        name="names",
        kind="tagging",
        data={"max_length": 64},
        architecture={
            "hidden_size": 48,
            "num_hidden_layers": 2,
            "order": 4,
            "theta": [4, 12],  # steps, lowest block first
            "memory_channels": 24,
            "bidirectional": True,
            "pooling": "mean",  # the config asks for one that fits both directions; this head reads every step
        },
        learning_rate=4e-3,
        epochs=4,
        batch_size=32,
        averaging=0.98,
        max_grad_norm=1.0,
    )
