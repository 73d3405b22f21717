"""How this project speaks to language models."""
