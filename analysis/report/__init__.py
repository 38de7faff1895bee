"""The report of a study: what it found, how sure that is, and from what, as one HTML page or as Markdown.

`gather` puts the content together, `write` writes it. The page stands alone: it works from a disk without a network.
"""

from pathlib import Path

from analysis.report.content import Content, gather
from analysis.report.formats import FORMATS
from analysis.results import write_text

__all__ = ["FORMATS", "Content", "gather", "write"]


def write(content: Content, path: Path) -> Path:
    """Write a report in the format of the path's suffix, one of `FORMATS`: `html` or `md`."""
    return write_text(FORMATS[path.suffix[1:]](content), path)
