"""From what the web sent to the picture that is stored."""
