"""Real-valued series."""

from .base import Recipe, Reproduction, recipe


@recipe
def mackey_glass() -> Recipe:
    """Mackey-Glass, 15 steps ahead: NRMSE 0.0193, three seeds; its LSTM baseline, as large: 0.0263.

    Cost: 349 s of one core, 17,243 parameters. Training series are cut into rows of 250 steps: 19 steps a pass.
    Source: Chilkuri and Eliasmith, arXiv 2102.11417: one memory, 140 units, a dense layer of 80.
    """
    return Recipe(
        name="mackey-glass",
        kind="forecast",
        architecture={
            "block_type": "lmu",
            "num_hidden_layers": 1,
            "order": 40,
            "theta": 50,
            "memory_channels": 1,
            "hidden_size": 140,  # the paper's units
            "head_hidden_size": 80,
            "hidden_act": "gelu",
        },
        lstm={"hidden_size": 56},  # 17,857 parameters
        data={"window": 250},  # steps: five times theta
        learning_rate=1e-2,
        weight_decay=0.0,
        epochs=200,
        batch_size=32,
        eval_steps=380,  # 20 epochs
        averaging=0.99,
        max_grad_norm=1.0,
        reproduction=Reproduction(seeds=3, lstm=""),
    )
