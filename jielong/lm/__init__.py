"""One face for every language model: sample, stream, score, embed, fork."""
