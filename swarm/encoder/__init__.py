"""Texts as vectors, and the reranking of passages: models that run here, or on an endpoint."""
