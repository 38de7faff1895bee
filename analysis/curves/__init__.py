"""Anyone's loss curves as one tidy table, a row per run and logged step, and what is wrong with them.

`read` takes whatever holds curves; `final_points` reduces the table to the end of each run and says of every run why it does
not count, where it does not; `flags` lists all that a reader should know about the data before believing a fit of them.
`COLUMNS` documents the table.
"""

from analysis.curves.columns import COLUMNS, TEXT, Column, require
from analysis.curves.mapping import UNITS, parse_columns
from analysis.curves.points import final_points
from analysis.curves.quality import decaying, flags
from analysis.curves.reading import read

__all__ = ["COLUMNS", "TEXT", "UNITS", "Column", "decaying", "final_points", "flags", "parse_columns", "read", "require"]
