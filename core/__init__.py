"""What every room stands on: recipes, files, tables, receipts, manifests, leases, runs, choices, command lines."""
