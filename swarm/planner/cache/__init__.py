"""Plans of similar earlier requests."""
