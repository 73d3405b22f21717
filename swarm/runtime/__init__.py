"""What code inside a worker process shares: the thread pool, and the context of an expert."""
