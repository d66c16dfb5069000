"""One SQLite file of documents, n-grams and vectors: search, drafting, kNN-LM."""
