"""What a run is, in a few lines: its size, what is special about it, and by which code its recursion runs."""

from __future__ import annotations

from collections.abc import Iterator

from zf_pyro.config import Config
from zf_pyro.console import Verbosity, detail, is_heard
from zf_pyro.fields import differences, spelled
from zf_pyro.guides import Guide
from zf_pyro.kernels.choice import obstacle
from zf_pyro.latents import is_known
from zf_pyro.model import StochasticRNN
from zf_pyro.presets import preset

TOLD = ("source", "device", "seed")
"""Fields that other lines tell of."""


def tell_overview(model: StochasticRNN, guide: Guide, config: Config) -> None:
    """Say the lines where details are wanted."""
    if is_heard(Verbosity.VERBOSE):
        for line in overview(model, guide, config):
            detail(line)


def overview(model: StochasticRNN, guide: Guide, config: Config) -> Iterator[str]:
    """The lines, of a model and a guide with the configuration that they are trained or tested by."""
    sizes = [sum(each.numel() for each in module.parameters()) for module in (model, guide)]
    yield f"Parameters: {sum(sizes):,}, {sizes[0]:,} of them in the model, {sizes[1]:,} in the guide"
    base = preset(config.dataset, config.preset)
    changed = {name: pair for name, pair in differences(base, config).items() if name not in TOLD}
    told = ", ".join(f"{name} = {spelled(here)} ({spelled(there)})" for name, (there, here) in changed.items())
    yield f"Settings other than preset {config.preset} has: {told or 'none'}"
    reason = why_generic(model, guide, config)
    yield f"Recursion of the guide in training: {f'generic loop, since {reason}' if reason else 'hand-written kernel'}"


def why_generic(model: StochasticRNN, guide: Guide, config: Config) -> str:
    """Why an update runs the generic loop; empty where it runs a kernel."""
    if not is_known(model, guide):
        return "the programs are of one's own"
    if config.training.form == "step":
        return "the step form has a site for every step"
    if config.device != "cpu":
        return "the kernels are for a CPU"
    if config.training.precision != "float32":
        return f"the kernels compute in float32, and precision is {config.training.precision}"
    return obstacle(model.transition, guide.posterior)
