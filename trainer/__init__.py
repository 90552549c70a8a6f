"""Contrastive training on shards, and its evaluations. The only room that knows torch."""

import os

# Threads of GNU's OpenMP, which torch uses, wait by spinning: where another process has a core, a step on two threads
# took five times as long as on one (4.6 s against 0.9 s). It has to be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
