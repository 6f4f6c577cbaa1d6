"""The command line: ``zf-pyro`` and ``run.py``. A command is imported when it is called: PyTorch takes seconds."""

from __future__ import annotations

import signal
import sys
from importlib import import_module

import click

from zf_pyro import __version__, ranks
from zf_pyro.errors import InputError, Interrupted, MachineError, TrainingError, signal_of
from zf_pyro.files import shown
from zf_pyro.signals import handled, obey

COMMANDS = {
    "train": ("zf_pyro.run_commands:train", "Train a model, test it, and write the folder of the run."),
    "evaluate": ("zf_pyro.run_commands:evaluate", "Bound the likelihood of a run's test split."),
    "compare": ("zf_pyro.compare.command:compare", "Compare runs, or those of a sweep, on the same sequences."),
    "report": ("zf_pyro.report.command:report", "Write what runs have learnt as a page for a browser."),
    "latents": ("zf_pyro.inspection.command:latents", "Tell whether a run uses its latent variable."),
    "score": ("zf_pyro.inspection.command:score", "Bound the likelihood of every sequence of a file."),
    "encode": ("zf_pyro.inspection.command:encode", "Write the latent variables of a file's sequences."),
    "sample": ("zf_pyro.generation.command:sample", "Draw sequences from the prior."),
    "continue": ("zf_pyro.generation.command:go_on", "Continue the beginning of a sequence."),
    "reconstruct": ("zf_pyro.generation.command:rebuild", "Decode sequences from their own latent paths."),
    "interpolate": ("zf_pyro.generation.command:between", "Decode the latent paths between two sequences."),
    "data": ("zf_pyro.commands:show_data", "Print what is in a data set, and draw some of it."),
    "prepare": ("zf_pyro.commands:prepare_data", "Write recordings into a folder, from where training reads them."),
    "parts": ("zf_pyro.commands:parts", "List families, guides, priors, schedules and presets."),
    "benchmark": ("zf_pyro.commands:benchmark", "Time training steps and evaluations."),
}
"""Where each command is, and what it does."""

TOGETHER = ("train", "evaluate")
"""The commands that several processes may be started with together."""


class Commands(click.Group):
    """The commands of `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, in the order of a run's life."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One of them, imported now.

        Raises:
            InputError: it is for one process, and several were started together.
        """
        if cmd_name not in COMMANDS:
            return None
        if ranks.world_size() > 1 and cmd_name not in TOGETHER:
            raise InputError(f"{cmd_name} runs in one process: start it without torchrun")
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        return getattr(import_module(module), name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List them without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


def exit_with(command: click.Command) -> None:
    """Run a command and end the process.

    The status is 0, 2 for a mistake of the user's, 1 for a failure, 130 after Ctrl-C and 143 after SIGTERM. A mistake
    or a failure prints one line on standard error.
    """
    try:
        with handled(obey, signal.SIGTERM):
            command.main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(2)
    except (InputError, TrainingError, click.ClickException) as error:
        message = error.format_message() if isinstance(error, click.ClickException) else str(error)
        click.echo(f"error: {ranks.after_the_first()}{shown(' '.join(message.split()))}", err=True)
        sys.exit(1 if isinstance(error, MachineError | TrainingError) else 2)
    except Interrupted as stop:
        leave(str(stop), stop.number)
    except (KeyboardInterrupt, click.Abort) as stop:  # click makes the second of the first
        leave("interrupted", signal_of(stop.__cause__ if isinstance(stop, click.Abort) else stop))


def leave(message: str, number: int) -> None:
    """End the process by a signal's status, with a word of the first process's."""
    if ranks.is_first():
        click.echo(message, err=True)
    sys.exit(128 + number)


@click.group(cls=Commands)
@click.version_option(__version__)
def cli() -> None:
    """Stochastic recurrent networks by Z-Forcing, in Pyro."""


def main() -> None:
    """Entry point of ``zf-pyro``."""
    exit_with(cli)
