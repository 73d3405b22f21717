"""Experts, the cards that describe them, and the registry that runs them."""
