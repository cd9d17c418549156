"""Train, validate or test a speech emotion classifier; ``python train.py --help``."""

from speechshap.cli import run, train

if __name__ == "__main__":
    run(train, interrupted="interrupted; --ckpt_path <run>/checkpoints/last.ckpt goes on after the last whole epoch")
