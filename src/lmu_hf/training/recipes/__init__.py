"""One named function per result that we claim: architecture, data, optimiser, budget."""

from . import (
    audio,
    classification,
    forecasts,
    images,
    own,
    own_images,
    own_lm,
    own_translation,
    pairs,
    series_classification,
    tagging,
    text,
    translation,
)
from .base import RECIPES, Recipe, Reproduction, get_recipe

__all__ = [
    "RECIPES",
    "Recipe",
    "Reproduction",
    "audio",
    "classification",
    "forecasts",
    "get_recipe",
    "images",
    "own",
    "own_images",
    "own_lm",
    "own_translation",
    "pairs",
    "series_classification",
    "tagging",
    "text",
    "translation",
]
