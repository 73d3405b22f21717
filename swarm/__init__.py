"""An asynchronous agent-swarm router."""
