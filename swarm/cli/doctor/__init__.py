"""`swarm doctor`: facts, checks, and findings with their remedies."""
