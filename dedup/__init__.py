"""Near-duplicate images: hashes, exact all-pairs search, groups, a persistent index. Arrays and files, no pipeline."""
