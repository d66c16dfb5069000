"""Learning from which answer is better: preferences, labels and rewards."""
