"""Evaluation on arrays and files: metrics, statistics and protocols, without torch and without a pipeline."""
