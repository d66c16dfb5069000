"""Ways to make a picture, one file each, over one noising path."""
