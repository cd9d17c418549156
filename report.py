"""Write the report of a run; ``python report.py --help``. The same as ``speechshap report``."""

from speechshap.cli import main

if __name__ == "__main__":
    main("report")
