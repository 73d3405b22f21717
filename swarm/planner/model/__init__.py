"""Planning by a language model."""
