"""Anyone's loss curves as one tidy table, a row per run and logged step, and what is wrong with them.

`read` takes whatever holds curves; `final_points` reduces the table to the end of each run and says of every run why it does
not count, where it does not; `flags` lists all that a reader should know about the data before believing a fit of them.
`where` keeps a part of a table, `COLUMNS` documents it.
"""

from analysis.curves.columns import COLUMNS, TEXT, Column, require
from analysis.curves.mapping import UNITS, parse_columns
from analysis.curves.points import final_points
from analysis.curves.quality import decaying, flags
from analysis.curves.reading import read
from analysis.curves.where import where

__all__ = [
    "COLUMNS",
    "TEXT",
    "UNITS",
    "Column",
    "decaying",
    "final_points",
    "flags",
    "parse_columns",
    "read",
    "require",
    "where",
]
