"""Tasks: what they write, how they are committed, dealt to workers, shuffled, and how far they are."""
