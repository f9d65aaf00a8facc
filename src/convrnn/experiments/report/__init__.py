"""The report of results: a web page, Markdown, CSV and LaTeX, all from the same numbers."""

from convrnn.experiments.report.layout import Layout, lay_out

__all__ = ["Layout", "lay_out"]
