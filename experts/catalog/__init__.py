"""From a folder of Markdown files to a catalog of cards."""
