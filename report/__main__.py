"""python -m report --recipe recipes/real.toml: the report of a run."""

from core.command import exit_now
from report.render import main

exit_now(main)
