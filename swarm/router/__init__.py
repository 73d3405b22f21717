"""Move a job forward, one delivery at a time: read its log, decide, write."""
