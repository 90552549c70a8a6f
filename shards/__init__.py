"""Sorted tars of samples, their manifests, and readers that prove completeness. No Beam, no torch."""
