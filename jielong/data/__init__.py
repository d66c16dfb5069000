"""Reading, mixing, splitting, tokenising and packing examples. Import the module you need."""
