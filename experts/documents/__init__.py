"""Documents of any usual format as blocks of text with their places, and the chunks in which they are searched."""
