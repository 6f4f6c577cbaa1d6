"""Draw kl.svg beside this file: the KL during training, with and without the auxiliary, of speech and of text.

    zf-pyro compare --sweep experiments/blizzard.toml --data kathleen16k
    zf-pyro compare --sweep experiments/imdb.toml --data aclImdb
    python docs/figures/kl.py runs

A line is the mean over a window of updates of one run, of every seed that has been run.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zf_pyro.metrics import read_metrics
from zf_pyro.plots import running_mean

WINDOW = 25
STYLE = {"svg.hashsalt": "kl", "font.size": 9}
SPEECH = {"zforcing": "without", "zforcing-auxiliary": "with the auxiliary"}
TEXT = {"plain": "without", "annealing": "KL annealed", "auxiliary": "with the auxiliary", "both": "both"}
COLOURS = {"without": "#737a84", "KL annealed": "#3b7acd", "with the auxiliary": "#c66206", "both": "#7b3fb5"}


def curve(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """Updates, and the KL over the window that ends with each, nats a step."""
    lines = [line for line in read_metrics(run) if line.get("kl") is not None]
    if len(lines) < WINDOW:
        sys.exit(f"{run} has {len(lines)} updates, and a window is of {WINDOW}")
    steps, values, lengths = (np.array([line[name] for line in lines]) for name in ("step", "kl", "length"))
    return steps[WINDOW - 1 :], running_mean(values, lengths, WINDOW)


def draw_runs(axes: Axes, sweep: Path, names: dict[str, str]) -> None:
    """The curves of a sweep's rows, a colour for each."""
    for name, words in names.items():
        runs = sorted(sweep.glob(f"{name}-[0-9]*"))
        if not runs:
            sys.exit(f"{sweep} has no run of {name}")
        for number, run in enumerate(runs):
            axes.plot(*curve(run), color=COLOURS[words], linewidth=1.2, label=None if number else words)
    axes.set_xlabel("updates")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def draw(runs: Path, path: Path) -> None:
    """Write the picture."""
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 3), layout="constrained")
        speech, text = figure.subplots(1, 2)
        draw_runs(speech, runs / "blizzard", SPEECH)
        speech.set(title="speech of one speaker", ylabel="KL, nats a frame of 200 samples")
        draw_runs(text, runs / "imdb", TEXT)
        text.set(title="sentences of film reviews", ylabel="KL, nats a word")
        figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(__file__).with_suffix(".svg"))
