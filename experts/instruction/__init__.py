"""Experts that are an instruction and nothing else."""
