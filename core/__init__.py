"""What every room stands on: recipes, files, tables, manifests, receipts, runs, command lines."""
