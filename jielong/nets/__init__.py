"""Functions with unknown parameters: the Transformer and the few other shapes, caches, checkpoints."""
