"""Experts that answer from documents and cite them."""
