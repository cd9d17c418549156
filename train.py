"""Train, validate or test a speech emotion classifier; ``python train.py --help``. The same as ``speechshap train``."""

from speechshap.cli import main

if __name__ == "__main__":
    main("train")
