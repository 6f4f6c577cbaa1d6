"""Draw model.svg beside this file: the generative model and the inference network of Z-Forcing, three steps of each.

    python docs/figures/model.py

Nothing lies behind it, and its colours are as far from white as from a page in the dark, so it serves both.
"""

from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Patch

STEPS = ("t-1", "t", "t+1")
PITCH, RADIUS = 2.0, 0.36
ROWS = {"x": 3.9, "b": 2.6, "z": 1.3, "h": 0.0}
GENERATIVE_ROWS = {"x": 3.9, "h": 1.95, "z": 0.0}
FILLS = {"x": "#d4d6db", "z": "#bcd9fb", "h": "#f3e2b3", "b": "#dccdf3"}
INK, GREY, BLUE, ORANGE = "#1c1c1e", "#737a84", "#3b7acd", "#c66206"
STYLE = {"svg.fonttype": "path", "svg.hashsalt": "model", "mathtext.fontset": "stix", "font.family": "STIXGeneral"}

Place = tuple[float, float]


def place(rows: dict[str, float], name: str, step: int) -> Place:
    """Give the place of a step's node; steps -1 and 3 are beyond the edges."""
    return PITCH * step, rows[name]


def node(ax: Axes, name: str, step: int, at: Place) -> None:
    """Draw a variable as a circle, a network's state as a square."""
    look = {"facecolor": FILLS[name], "edgecolor": GREY, "linewidth": 1.4, "zorder": 3}
    side = 1.6 * RADIUS
    square = FancyBboxPatch((at[0] - side / 2, at[1] - side / 2), side, side, "round,pad=0.06", **look)
    shape: Patch = square if name in ("h", "b") else Circle(at, RADIUS, **look)
    ax.add_patch(shape)
    ax.text(*at, f"${name}_{{{STEPS[step]}}}$", color=INK, fontsize=17, ha="center", va="center", zorder=4)


def arrow(ax: Axes, start: Place, end: Place, colour: str = GREY, line: str = "-", bend: float = 0.0) -> None:
    """Draw an arrow between the edges of two nodes; of one that crosses the picture's edge the half inside."""
    middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    from_inside, to_inside = (0 <= each[0] <= PITCH * (len(STEPS) - 1) for each in (start, end))
    shape = FancyArrowPatch(
        start if from_inside else middle,
        end if to_inside else middle,
        connectionstyle=f"arc3,rad={bend}",
        arrowstyle="-|>" if to_inside else "-",
        mutation_scale=15,
        shrinkA=23 if from_inside else 0,
        shrinkB=(24 if bend or start[0] == end[0] or start[1] == end[1] else 28) if to_inside else 0,
        color=colour,
        linestyle=line,
        linewidth=2.4 if bend and colour == ORANGE else 1.7,
    )
    ax.add_patch(shape)


def between(ax: Axes, rows: dict[str, float], names: str, shift: int, colour: str = GREY, line: str = "-") -> None:
    """Draw the arrow from one variable to another `shift` steps later, at every step and across both edges."""
    for step in range(min(0, -shift), len(STEPS) + max(0, -shift)):
        arrow(ax, place(rows, names[0], step), place(rows, names[1], step + shift), colour, line)


def generative(ax: Axes) -> None:
    """Draw p: the prior of z, the LSTM over h, the emission of x."""
    rows = GENERATIVE_ROWS
    for names, shift in (("zh", 0), ("hx", 0), ("hh", 1), ("hz", 1), ("xh", 1)):
        between(ax, rows, names, shift)
    finish(ax, rows, "Generative model", {r"$p(z_t\mid h_{t-1})\;\;p(x_t\mid h_t)$": (2.0, GREY)})


def inference(ax: Axes) -> None:
    """Draw q: the backward RNN over b, the posterior of z, and what the two added terms predict."""
    for names, shift in (("zh", 0), ("hh", 1)):
        between(ax, ROWS, names, shift)
    for names, shift in (("xb", 0), ("bb", -1), ("hz", 1)):
        between(ax, ROWS, names, shift, BLUE)
    for step in range(len(STEPS)):
        b, z = place(ROWS, "b", step), place(ROWS, "z", step)
        arrow(ax, b, z, BLUE, bend=0.35)
        arrow(ax, z, b, ORANGE, bend=0.35)
    between(ax, ROWS, "bx", -1, ORANGE, ":")
    terms = {
        r"$q(z_t\mid h_{t-1}, b_t)$": (-0.1, BLUE),
        r"$\alpha\,\log\,p(b_t\mid z_t)$": (1.85, ORANGE),
        r"$\beta\,\log\,p(x_{t-1}\mid b_t)$": (4.05, ORANGE),
    }
    finish(ax, ROWS, "Inference network, and what is added to train it", terms)


def finish(ax: Axes, rows: dict[str, float], title: str, terms: dict[str, tuple[float, str]]) -> None:
    """Draw the nodes over the arrows, a title above, and below terms, each with its middle and its colour."""
    for name in rows:
        for step in range(len(STEPS)):
            node(ax, name, step, place(rows, name, step))
    ax.text(PITCH, 4.75, title, color=GREY, fontsize=17, ha="center", va="center")
    for term, (middle, colour) in terms.items():
        ax.text(middle, -0.95, term, color=colour, fontsize=17, ha="center", va="center")
    ax.set(xlim=(-1.15, PITCH * (len(STEPS) - 1) + 1.15), ylim=(-1.3, 5.1), aspect="equal")
    ax.axis("off")


def draw(path: Path) -> None:
    """Write the picture, in the format that the name ends in."""
    with rc_context(STYLE):
        figure = Figure(figsize=(11, 5.4))
        left, right = figure.subplots(1, 2)
        generative(left)
        inference(right)
        figure.subplots_adjust(0, 0, 1, 1, 0.02)
        figure.savefig(path, transparent=True, metadata={"Date": None} if path.suffix == ".svg" else None)


if __name__ == "__main__":
    draw(Path(__file__).with_suffix(".svg"))
