"""Measure whether a model is fit to plan, on its recorded answers."""
