"""The decoder's step in C++, compiled on this machine for its own instructions, where there is a compiler."""
