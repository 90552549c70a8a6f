"""One file an evaluation; each says honestly what it measured and on what."""
