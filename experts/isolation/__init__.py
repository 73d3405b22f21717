"""Experts that run in child processes."""
