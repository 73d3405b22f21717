"""Plan without a model."""
