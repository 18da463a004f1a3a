"""One named function per result that we claim: architecture, data, optimiser, budget."""

from . import classification, images, series, text, translation
from .base import RECIPES, Recipe, get_recipe

__all__ = ["RECIPES", "Recipe", "classification", "get_recipe", "images", "series", "text", "translation"]
