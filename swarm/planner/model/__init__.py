"""Plan with a language model."""
