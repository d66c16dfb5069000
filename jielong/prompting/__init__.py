"""Stronger without training: one technique a file, each a plain function from a model and a problem to an answer."""
