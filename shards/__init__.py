"""Sorted tars of samples, and readers that prove completeness. No Beam, no torch."""
