"""Frozen values: the only things that cross Redis."""
