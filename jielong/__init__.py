"""接龍 Jielong: train, align, run, open up, measure and protect generative models."""

__version__ = "0.1.0"
