"""The report of a reproduced table: a web page, Markdown, CSV and LaTeX, all from the same cells."""

from convrnn.experiments.report.document import Report, save_report

__all__ = ["Report", "save_report"]
