"""Compile a plan for hardware that is not here: what fits, what it costs, and what a mesh does to it."""
