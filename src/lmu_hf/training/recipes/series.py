"""Real-valued series."""

from .base import Recipe, recipe


@recipe
def mackey_glass() -> Recipe:
    """The paper's network for Mackey-Glass, 15 steps ahead: one memory, 140 units, a dense layer of 80.

    Training series are cut into rows of 250 steps, so that each pass over the data makes 19 steps of the optimiser.
    """
    return Recipe(
        name="mackey-glass",
        kind="series",
        architecture={
            "block_type": "lmu",
            "num_hidden_layers": 1,
            "order": 40,
            "theta": 50,
            "memory_channels": 1,
            "hidden_size": 140,
            "head_hidden_size": 80,
            "hidden_act": "gelu",
        },
        lstm={"hidden_size": 56},
        data={"window": 250},
        learning_rate=1e-2,
        weight_decay=0.0,
        epochs=200,
        batch_size=32,
        eval_steps=380,
        averaging=0.99,
        max_grad_norm=1.0,
    )


@recipe
def mackey_glass_lstm() -> Recipe:
    """The same with an LSTM of as many parameters in the memory's place."""
    return mackey_glass().baseline("lstm")
