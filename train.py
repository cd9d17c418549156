"""Train, validate or test a speech emotion classifier; ``python train.py --help``."""

from speechshap.cli import TrainCLI, run

if __name__ == "__main__":
    run(lambda arguments: TrainCLI(arguments) and None)
