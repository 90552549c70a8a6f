"""python -m report --recipe recipes/real.toml: the report of a run."""

from core.command import leave
from report.render import main

leave(main)
