"""The paper's figures, drawn for one's own models, with the paper's values beside them."""
