"""Compile a draft into a plan that can run."""
