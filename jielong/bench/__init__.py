"""Speed beside peers, in one run: interleaved repeats, medians, ratios, and the share of what the machine can do."""
