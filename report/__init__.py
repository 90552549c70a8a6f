"""Looks at runs: the report, status, plan and explain."""
