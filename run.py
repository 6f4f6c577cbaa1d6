"""Train, test and write a run's folder: ``python run.py --dataset imdb``, or ``zf-pyro train --dataset imdb``."""

from zf_pyro.cli import exit_with
from zf_pyro.run_commands import train

if __name__ == "__main__":
    exit_with(train)
