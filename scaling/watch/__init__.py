"""A sweep while it runs, from its run directories alone: in a terminal or as a page on this machine.        (no jax)"""
