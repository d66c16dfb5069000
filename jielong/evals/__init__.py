"""How good a model is, against what is true."""
