"""Checkpoint families of Hugging Face, each a map onto the one Transformer (see `known` for the list)."""
