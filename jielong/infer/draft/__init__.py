"""Guessing ahead without changing what the model would have said: drafters, verifiers, and the proof of both."""
