"""Images and the texts that may describe them, out of a page."""
