"""n-gram models: what counting alone makes of the same tokens. Runs like any other of a sweep, with the same record."""
