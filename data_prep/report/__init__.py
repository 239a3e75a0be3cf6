"""report.html: one self-contained page that shows a cleaned data set; reads the files of an output only."""

from .page import write_report

__all__ = ["write_report"]
