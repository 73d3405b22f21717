"""Planning without a model."""
