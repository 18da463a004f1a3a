"""One named function per result that we claim: architecture, data, optimiser, budget."""

from . import audio, classification, images, own, pairs, series, tagging, text, translation
from .base import RECIPES, Recipe, Reproduction, get_recipe

__all__ = [
    "RECIPES",
    "Recipe",
    "Reproduction",
    "audio",
    "classification",
    "get_recipe",
    "images",
    "own",
    "pairs",
    "series",
    "tagging",
    "text",
    "translation",
]
