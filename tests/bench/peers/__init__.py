"""What other queues and frameworks take for the same. Each script runs in a venv of its own: see `peering.py`."""
