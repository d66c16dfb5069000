"""Tables of words: data, not code."""
