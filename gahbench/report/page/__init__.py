"""A results folder as one HTML page that needs nothing else: tables, figures, images, and where they came from."""

from gahbench.report.page.report import html_report, write_report

__all__ = ["html_report", "write_report"]
