"""Many runs from one TOML file: which there are, and whether each can be made.

dataset = "jsb"                  # fields of the configuration, for all runs
seed = [0, 1]                    # a list of values: one run for each; of several lists, for each combination
[[run]]                          # what one row of the comparison has of its own
family = "rnn"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from zf_pyro import runs
from zf_pyro.checkpoints import newest
from zf_pyro.config import Config
from zf_pyro.data.corpus import Corpus
from zf_pyro.devices import choose_device
from zf_pyro.errors import InputError, check
from zf_pyro.experiment import prepare
from zf_pyro.fields import differences, override, read_table, spelled
from zf_pyro.opening import open_corpus
from zf_pyro.presets import preset, read_config

UNSAFE = re.compile(r"[^A-Za-z0-9._+=,-]+")
"""What a name, which becomes that of a folder, may not hold."""

LONGEST_NAME = 100

COMMON = ("dataset", "data", "run")
"""What stands at the top of the file alone: runs of other data do not compare."""

SMOKE = {
    "seed": 0,
    "max_steps": 2,
    "validate_every": 0,
    "validation_sequences": 2,
    "validation_particles": 2,
    "eval_sequences": 2,
    "num_particles": 2,
    "num_samples": 1,
}
"""Settings by which a run of any sweep takes seconds, and goes through all of its parts."""


@dataclass(frozen=True)
class Member:
    """One run of a sweep.

    Attributes:
        name: of its row.
        config: all of its settings.
        folder: where it is, or will be.
        any_device: the file names no device, so that a run that is there may be of another.
    """

    name: str
    config: Config
    folder: Path
    any_device: bool

    @property
    def title(self) -> str:
        """The member in words."""
        return f"{self.name}, seed {self.config.seed}"


def read_sweep(
    path: Path,
    output: Path,
    data: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    smoke: bool = False,
) -> list[Member]:
    """The runs that a file asks for, in its order.

    Args:
        path: the TOML file.
        output: the folder that holds, or will hold, a folder NAME-SEED for each run.
        data: where the data is, if not where the file says.
        settings: fields by name, in place of what the file says for any run.
        smoke: one run for each row, by SMOKE but for what `settings` name.

    Raises:
        InputError: the file cannot be read; it has a field that is none, or a value of a wrong type or out of its
            range; or two runs have one name and seed.
    """
    table = read_table(path)
    changed = settings or {}
    for name in COMMON:
        check(name not in changed, f"--set takes fields of runs, and {name} is none")
    shared = {name: value for name, value in {**table, **changed}.items() if name != "run"}
    own = table.get("run", [{}])
    try:
        check(isinstance(own, list) and all(isinstance(each, dict) for each in own), "a run is written [[run]]")
        check(bool(own), "there is no run")
        check(isinstance(shared.get("dataset"), str), 'name the data set: dataset = "jsb"')
        named = place(path, shared.pop("data", ""))
        source = named if data is None else str(data.absolute())
        kept = ({name: value for name, value in each.items() if name not in changed} for each in own)
        members = [member for each in kept for member in expand(shared, each, source, output)]
        check_distinct(members)
        members = tried(members, changed) if smoke else members
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return members


def tried(members: list[Member], settings: Mapping[str, Any]) -> list[Member]:
    """One run of each row, so small that it takes seconds. Rows may differ in what that changes, so names stay."""
    small = {field: value for field, value in SMOKE.items() if field not in settings}
    first = {member.name: member for member in reversed(members)}
    found = []
    for name in dict.fromkeys(member.name for member in members):
        config = override(first[name].config, small)
        folder = first[name].folder.with_name(f"{name}-{config.seed}")
        found.append(replace(first[name], config=config, folder=folder))
    return found


def place(path: Path, data: Any) -> str:
    """Where the data is, a relative path being relative to the file that names it; "" where none does."""
    check(isinstance(data, str), f"data names a place, and is {data!r}")
    return str((path.absolute().parent / data).resolve()) if data else ""


def expand(shared: Mapping[str, Any], own: Mapping[str, Any], source: str, output: Path) -> Iterator[Member]:
    """The runs of one entry: one for each combination of the values that its lists hold."""
    for name in COMMON:
        check(name not in own, f"{name} stands above the runs, since runs of other data do not compare")
    check("source" not in {**shared, **own}, "name the place of the data by data, as --data does")
    values = {**{field: value for field, value in shared.items() if field not in own}, **own}
    name = values.pop("name", "")
    check("name" not in shared, "name is of one [[run]]")
    check(isinstance(name, str), f"name is a text, not {name!r}")
    lists = {field: value if isinstance(value, list) else [value] for field, value in values.items()}
    for field, choices in lists.items():
        check(bool(choices), f"the list {field} is empty")
    told = [field for field in lists if field != "seed" and (len(lists[field]) > 1 or (field in own and not name))]
    for combination in product(*lists.values()):
        chosen = dict(zip(lists, combination, strict=True))
        parts = [*([name] if name else []), *(f"{field}={spelled(chosen[field])}" for field in told)]
        config = configured(chosen, source)
        full = ",".join(parts) or config.dataset
        safe = full if name else UNSAFE.sub("-", full)
        check(not UNSAFE.search(safe) and safe[0] != ".", f"name {safe!r}: take letters, digits and any of . _ + = , -")
        check(len(safe) <= LONGEST_NAME, f"name {safe[:20]!r}..: it has more than {LONGEST_NAME} characters; give one")
        yield Member(safe, config, output / f"{safe}-{config.seed}", "device" not in chosen)


def configured(values: Mapping[str, Any], source: str) -> Config:
    """The configuration of one run."""
    rest = {name: value for name, value in values.items() if name not in ("dataset", "preset", "device")}
    for name in ("preset", "device"):
        check(isinstance(values.get(name, ""), str), f"{name} is a text, not {values.get(name)!r}")
    device = choose_device(values.get("device", "auto"))
    base = preset(values["dataset"], values.get("preset") or ("paper" if device.startswith("cuda") else "quick"))
    return override(replace(base, device=device, source=source), rest)


def check_distinct(members: list[Member]) -> None:
    """Refuse two runs that would share a folder, or two rows that are one."""
    seen: dict[str, Member] = {}
    for member in members:
        key = str(member.folder).lower()  # some file systems take upper and lower case for the same
        check(key not in seen, f"there are two runs {member.title}; name each [[run]] by name")
        twin = next((each for each in seen.values() if each.config == member.config), None)
        check(twin is None, f"the run {member.title} is the run {twin.title if twin else ''} once more")
        seen[key] = member


def open_all(members: list[Member], say: Callable[[str], None]) -> list[tuple[Member, Corpus]]:
    """Each run with its data, opened once for all that share it, and its settings with what was left open filled in.

    Raises:
        InputError: data cannot be read, or is not the same for all.
    """
    opened: list[tuple[Any, Corpus]] = []
    found = []
    for member in members:
        config = member.config
        key = (config.dataset, config.source, config.data)
        corpus = next((corpus for other, corpus in opened if other == key), None)
        if corpus is None:
            corpus = open_corpus(config, say)
            say(f"Data: {corpus.source}")
            opened.append((key, corpus))
        check(
            corpus.fingerprint == opened[0][1].fingerprint,
            f"{member.title} reads the data otherwise than {members[0].title}, so that the two do not compare",
        )
        settled = replace(config, source=corpus.origin, data=corpus.settings)
        found.append((replace(member, config=settled), corpus))
    return found


def check_all(pairs: list[tuple[Member, Corpus]]) -> None:
    """Find out before the first training whether every run can be made, or be gone on with.

    Raises:
        InputError: a model cannot be made, or a folder holds something else than the run that belongs there.
    """
    for member, corpus in pairs:
        if state_of(member, corpus) != "finished":
            prepare(member.config, corpus)


def state_of(member: Member, corpus: Corpus) -> str:
    """How far a run is: "new", "begun" (and nothing saved), "saved" or "finished".

    Raises:
        InputError: its folder holds something else, or a run of other settings or other data.
    """
    folder = member.folder
    if not folder.is_dir():
        check(not folder.exists(), f"{folder} is a file, and the run {member.title} needs a folder of that name")
        return "new"
    if not (folder / runs.CONFIG).is_file():
        known = all(any(path.match(pattern) for pattern in runs.PATTERNS) for path in folder.iterdir())
        check(known, f"{folder} is not empty and is no run; choose another --output")
        return "new"
    found = read_config(folder / runs.CONFIG)
    for name, (there, wanted) in differences(found, member.config).items():
        if not (name == "source" or (name == "device" and member.any_device)):
            reason = f"{folder} holds a run with {name} = {there!r}, and {wanted!r} is asked for"
            raise InputError(f"{reason}; choose another --output or name, or move that run away")
    check(
        runs.read_fingerprint(folder) == corpus.fingerprint,
        f"{folder} holds a run on other data than {corpus.source}; choose another --output",
    )
    if (folder / runs.RESULTS).is_file():
        return "finished"
    return "begun" if newest(folder) is None else "saved"
