"""Write the report of a run; ``python report.py --help``."""

from speechshap.cli import report, run

if __name__ == "__main__":
    run(report)
