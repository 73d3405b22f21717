"""Experts that were trained: a head of our own over hashed n-grams, or a tuned model behind an endpoint."""
