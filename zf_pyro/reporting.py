"""Who is told how a training goes, besides the files from which it goes on."""

from __future__ import annotations

from collections.abc import Sequence

from zf_pyro.training import Record


class Reporter:
    """Is told of a training while it goes on; does nothing about what it does not override."""

    def on_update(self, record: Record) -> None:
        """An update was made."""

    def on_validation(self, record: Record) -> None:
        """A validation was made."""

    def on_saved(self) -> None:
        """The state was saved."""

    def close(self) -> None:
        """Training ends, or is left."""


class Reporters(Reporter):
    """Several as one, each told in their order."""

    def __init__(self, reporters: Sequence[Reporter]) -> None:
        self.reporters = reporters

    def on_update(self, record: Record) -> None:
        """An update was made."""
        for each in self.reporters:
            each.on_update(record)

    def on_validation(self, record: Record) -> None:
        """A validation was made."""
        for each in self.reporters:
            each.on_validation(record)

    def on_saved(self) -> None:
        """The state was saved."""
        for each in self.reporters:
            each.on_saved()

    def close(self) -> None:
        """Training ends, or is left."""
        for each in self.reporters:
            each.close()
