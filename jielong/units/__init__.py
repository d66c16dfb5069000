"""Raw <-> units that need no learning by gradient: byte-pair tokens, characters, token lists, chat turns."""
