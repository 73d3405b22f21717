"""Public test doubles: scripted models, and a model server that behaves as real servers do."""
