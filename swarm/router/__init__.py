"""The flow of a job: read, decide, write."""
