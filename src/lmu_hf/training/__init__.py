"""How a model of the family is trained: tasks, recipes, the loop and its checkpoints. Needs the extra ``train``."""
