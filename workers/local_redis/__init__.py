"""The private Redis server of embedded mode."""
