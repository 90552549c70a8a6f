"""Contrastive training on shards, and its evaluations. The only room (beside dedup/detector) that knows torch."""
