"""Reuse the plans of similar earlier requests."""
