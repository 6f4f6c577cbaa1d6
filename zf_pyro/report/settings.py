"""What a run was made with: its configuration, versions, and the command that makes another like it."""

from __future__ import annotations

import shlex
from typing import Any

from zf_pyro.config import SECTIONS, Config
from zf_pyro.data.images import DIGITS
from zf_pyro.data.text.load import ARCHIVE, SAMPLES
from zf_pyro.fields import by_name, differences, read_table, to_table
from zf_pyro.files import printable
from zf_pyro.presets import preset
from zf_pyro.report.blocks import Block, Code, Folded, Note, Table
from zf_pyro.report.material import Material
from zf_pyro.report.results import titles
from zf_pyro.runs import CONFIG

BY_OPTION = ("dataset", "preset", "seed", "device", "source")
"""Fields that the command names by options of their own."""

NO_PATHS = (ARCHIVE, SAMPLES, DIGITS)
"""What stands for data that is no file of the user's."""


def configuration(material: Material) -> list[Block]:
    """The fields that differ from the preset's, every field, and the command that starts such a run."""
    config = material.config
    start = preset(config.dataset, config.preset)
    changed, values, originals = differences(start, config), by_name(config), by_name(start)
    names = [(section, name) for section, fields in sections_of(config).items() for name in fields]
    rows = [(name, spelled(values[name]), spelled(originals.get(name, "")), section) for section, name in names]
    marked = frozenset(place for place, (_, name) in enumerate(names) if name in changed)
    head, words = ("field", "value", "in the preset", "section"), frozenset({1, 2})
    caption = f"Fields that differ from the preset {config.preset} of {config.dataset}"
    return [
        Table(caption, head, [rows[place] for place in sorted(marked)], words=words),
        Folded(
            f"All {len(rows)} fields", [Table("Every field; those that differ are marked", head, rows, marked, words)]
        ),
        Note("Another run of this configuration is made by:"),
        Code(command(config)),
    ]


def sections_of(config: Config) -> dict[str, list[str]]:
    """The names of all fields, under those of their sections."""
    table = to_table(config)
    return {"run": [name for name in table if name not in SECTIONS], **{name: list(table[name]) for name in SECTIONS}}


def command(config: Config) -> str:
    """The command that trains by this configuration."""
    words = ["python", "run.py", "--dataset", config.dataset, "--preset", config.preset]
    words += ["--seed", str(config.seed), "--device", config.device]
    words += ["--data", config.source] if config.source and config.source not in NO_PATHS else []
    for name, (_, value) in differences(preset(config.dataset, config.preset), config).items():
        if name not in BY_OPTION:
            words += ["--set", f"{name}={spelled(value)}"]
    return shlex.join(words)


def spelled(value: Any) -> str:
    """A value as --set takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def versions(material: Material) -> list[Block]:
    """What the run was made with."""
    made_with = read_table(material.folder / CONFIG).get("versions", {})
    rows = [(name, str(version) or "-") for name, version in made_with.items()]
    rows += [("folder", printable(str(material.folder.absolute())))]
    return [Table("Versions, and the hash of the data", ("of", "version"), rows, words=frozenset({1}))]


def differing(materials: list[Material]) -> list[Block]:
    """The fields in which several runs differ, a column for each run."""
    tables = [by_name(material.config) for material in materials]
    names = [
        name
        for name in dict.fromkeys(n for table in tables for n in table)
        if len({spelled(table.get(name, "-")) for table in tables}) > 1
    ]
    if not names:
        return [Note("Their configurations are the same in every field.")]
    rows = [(name, *(spelled(table.get(name, "-")) for table in tables)) for name in names]
    return [
        Table(
            "Fields that differ; all others agree",
            ("field", *titles(materials)),
            rows,
            words=frozenset(range(1, len(tables) + 1)),
        )
    ]
