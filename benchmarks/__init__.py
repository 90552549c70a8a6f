"""One file a claim: ours and the peer side by side in one run, answers compared, the ratio as the last line."""
