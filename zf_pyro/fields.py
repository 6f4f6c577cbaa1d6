"""The fields of a configuration: replaced by name, from texts and from TOML, and written as TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, astuple, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from zf_pyro.config import SECTIONS, Config
from zf_pyro.errors import InputError, check, unknown_name
from zf_pyro.parts import choose, is_own
from zf_pyro.schedules import Scheduled, schedule

LARGEST = 1e18
"""Bound on the numbers of a configuration: no setting is larger, and single precision and 64-bit integers hold it."""


def override(config: Config, values: Mapping[str, Any]) -> Config:
    """A configuration with some fields replaced, each named without its section.

    Strings are read as the field's type; values of another type must be of it already (an integer serves as a real).

    Raises:
        InputError: no such field (near names are listed), or a value of the wrong type or out of its range.
    """
    sections = {name: getattr(config, name) for name in SECTIONS}
    owners = {f.name: name for name, section in sections.items() for f in fields(section)}
    owners |= {f.name: "" for f in fields(config) if f.name not in sections}
    kinds = {name: get_type_hints(type(section)) for name, section in {**sections, "": config}.items()}
    changes: dict[str, dict[str, Any]] = {}
    for name, value in {**weights_of_family(config.model.family, values), **values}.items():
        if name not in owners:
            raise InputError(unknown_name(f"{config.dataset} field", name, owners))
        if name in ("dataset", "preset") and value != getattr(config, name):
            raise InputError(f"{name} decides what the other fields start from; choose it by --{name}")
        changes.setdefault(owners[name], {})[name] = read_value(name, value, kinds[owners[name]][name])
    top = changes.pop("", {})
    return replace(config, **top, **{name: replace(sections[name], **new) for name, new in changes.items()})


def weights_of_family(family: str, values: Mapping[str, Any]) -> dict[str, float]:
    """What alpha and beta are where a family or a guide is asked for, and they are not.

    A preset's are Z-Forcing's: 0 under another family, under a guide without a state that runs backward, and under one
    of a user's own, of which that is not known.
    """
    family, guide = str(values.get("family", family)), str(values.get("guide") or "")
    other = "family" in values and family != "zforcing"
    blind = guide and (is_own(guide) or not choose(family, "", "", guide).runs_backward)
    return {"alpha": 0.0, "beta": 0.0} if other or blind else {}


def read_value(name: str, value: Any, kind: Any) -> Any:
    """A value of the type `kind`, from that type or from its text.

    A kind is bool, int, float, str, a Literal of strings or `Scheduled`.
    """
    if kind == Scheduled:
        return read_scheduled(name, value)
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        if value not in choices:
            raise InputError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
        return value
    if isinstance(value, str) and kind is not str:
        value = parse_text(value, kind)
    if kind is float and type(value) is int and abs(value) <= LARGEST:
        value = float(value)
    if type(value) is not kind or (kind in (int, float) and not abs(value) <= LARGEST):
        wanted = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}[kind]
        size = " of a sensible size" if kind in (int, float) and type(value) in (int, float) else ""
        raise InputError(f"{name} must be {wanted}{size}, not {value!r}")
    return value


def read_scheduled(name: str, value: Any) -> Scheduled:
    """A number, also from its text; or the text of a schedule, which may be empty where a field says what that is."""
    number = parse_text(value, float) if isinstance(value, str) else value
    if not isinstance(number, str):
        return read_value(name, number, float)
    sensible = number == "" or max(astuple(schedule(number, name))) <= LARGEST
    check(sensible, f"{name} must have numbers of a sensible size, not {number!r}")
    return number


def parse_text(text: str, kind: type) -> Any:
    """The value that `text` spells, or `text` itself where it spells none."""
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        return kind(text)
    except ValueError:
        return text


def to_table(config: Config) -> dict[str, Any]:
    """The configuration as nested dictionaries, for TOML."""
    return asdict(config)


def by_name(config: Config) -> dict[str, Any]:
    """Every field of a configuration, without its section."""
    table = to_table(config)
    sections = [table.pop(name) for name in SECTIONS]
    return {**table, **{name: value for section in sections for name, value in section.items()}}


def differences(one: Config, other: Config) -> dict[str, tuple[Any, Any]]:
    """The fields in which two configurations differ, with both values; None where one of them has no such field."""
    return unequal(by_name(one), by_name(other))


def unequal(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The names whose values differ, with both values; None where one of the two has no such name."""
    pairs = {name: (left.get(name), right.get(name)) for name in {**left, **right}}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def spelled(value: Any) -> str:
    """A value as in a name, short."""
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def read_table(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        InputError: it cannot be read or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no TOML file: {error}") from error


def flatten(table: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The fields of a config.toml without their sections; what it records of versions is left out."""
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name == "versions":
            continue
        if isinstance(value, dict) and name not in SECTIONS:
            raise InputError(f"{path}: {unknown_name('section', name, SECTIONS)}")
        values.update(value if isinstance(value, dict) else {name: value})
    return values
