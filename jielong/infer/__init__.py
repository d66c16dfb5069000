"""Running models: sampling and batched generation."""
