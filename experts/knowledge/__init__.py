"""Search in documents by words and by meaning: the index file, how it is built, and how it is searched."""
