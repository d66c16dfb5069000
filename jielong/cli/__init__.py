"""Verbs, thin: each module here turns flags into one call of a room below. No torch at the top."""
