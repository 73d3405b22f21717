"""Experts that consist of an instruction only."""
