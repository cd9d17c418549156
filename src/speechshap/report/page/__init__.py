"""The report: one HTML file with every explanation of a run, to see and to hear."""

from speechshap.report.page.build import write_report

__all__ = ["write_report"]
