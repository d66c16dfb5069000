"""A package in name, so that no other `tests` that some library installs is taken for it."""
