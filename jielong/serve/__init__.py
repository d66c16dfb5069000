"""The OpenAI-compatible server: HTTP in, the engine's pieces out."""
