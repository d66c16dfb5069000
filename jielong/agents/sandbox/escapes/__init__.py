"""Ways out of a sandbox, as programs that say so when they are out; and plain exec, from which each gets out."""
