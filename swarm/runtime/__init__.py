"""Shared by code inside a worker process: the thread pool and the context of an expert."""
