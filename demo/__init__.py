"""The demo: a web of its own, and everything from its first page to the report."""
