"""Everything that is written to Redis, and the scripts that write it."""
