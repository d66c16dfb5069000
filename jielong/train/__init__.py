"""Finding the parameters: one loop, one file for each objective."""
