"""The report of a reproduced table: a web page, Markdown, CSV and LaTeX, all from the same cells."""

from convrnn.experiments.report.document import Report

__all__ = ["Report"]
