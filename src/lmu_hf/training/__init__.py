"""The workshop: how a model of the family is made. Needs the extra ``train``."""
