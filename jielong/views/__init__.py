"""Pure functions from results to self-contained HTML and SVG: no scripts, no network, no drawing library."""
