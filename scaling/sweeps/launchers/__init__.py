"""Handing runs to engines that queue, gang and restart them: one interface, a file for each engine."""
