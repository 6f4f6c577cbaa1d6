"""Parts by name on the command line, parts of a user's own, and guides that are plain Pyro programs."""

import json
import math
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormal

import zf_pyro
from tests.toy_runs import TINY, toy_documents
from zf_pyro import InputError, SequenceBatch, estimate_bound, importance_weights
from zf_pyro.build import build
from zf_pyro.config import ModelConfig
from zf_pyro.data.corpus import Observation
from zf_pyro.fields import override
from zf_pyro.parts import ENCODERS, FAMILIES, GUIDES, POSTERIORS, PRIORS, TRANSITIONS
from zf_pyro.presets import PRESETS, preset, read_config

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
PRIOR, GUIDE, PROGRAM = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture(autouse=True)
def _empty_store():
    pyro.clear_param_store()
    yield
    pyro.clear_param_store()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def save_arrays(folder, kind):
    """Sequences (n, 5, 3) of bits or of real numbers."""
    random = np.random.default_rng(0)
    draw = {"bits": lambda n: random.integers(0, 2, (n, 5, 3)), "reals": lambda n: random.normal(3, 5, (n, 5, 3))}[kind]
    np.savez(folder / f"{kind}.npz", train=draw(8), valid=draw(3), test=draw(3))
    return ["--dataset", "arrays", "--data", folder / f"{kind}.npz"]


def data_of(folder, kind):
    """The options that name some tiny data, which is made in a folder."""
    if kind == "text":
        (folder / "lines.txt").write_text("\n".join(toy_documents(30)))
        return ["--dataset", "text", "--data", folder / "lines.txt"]
    if kind == "digits":
        pytest.importorskip("sklearn")
        return ["--dataset", "digits"]
    return save_arrays(folder, kind)


def accepted(outcome):
    status, output, error = outcome
    assert status == 0, error
    return output


def refused(outcome):
    """What a command said that ended as a mistake of the user's is to end."""
    status, _, error = outcome
    assert (status, error.count("\n")) == (2, 1), error
    assert error.startswith("error: ")
    return error


def results_of(folder, name="results.json"):
    return json.loads((folder / name).read_text())["test"]


def check_bounds(test):
    numbers = [value for value in test.values() if isinstance(value, int | float)]
    assert all(map(math.isfinite, numbers))
    assert test["elbo"] <= test["iw_bound"] + 1e-9


def check_run(folder, zf):
    """A finished run has sound results and samples, can be evaluated, and loads."""
    check_bounds(results_of(folder))
    assert any((folder / name).is_file() for name in ("samples.txt", "samples.npz"))
    accepted(zf("evaluate", folder, "--num-particles", 4, "--device", "cpu", "--trust"))
    check_bounds(results_of(folder, "evaluation-4.json"))
    run = zf_pyro.load(folder, trust=True)
    assert sum(p.numel() for each in run[:2] for p in each.parameters()) > 0
    return run


# The page on extending.


def lines_of_code(block):
    lines = [line for line in block.splitlines() if line.strip() and not re.match(r"#\s\w+\.py$", line)]
    return [line for line in lines if not line.startswith(("import ", "from "))]


@pytest.mark.parametrize("block", [PRIOR, GUIDE, PROGRAM], ids=["prior", "guide", "program"])
def test_an_example_is_under_20_lines(block):
    assert len(lines_of_code(block)) < 20


def save_block(block, folder):
    name = re.match(r"# (\w+\.py)\n", block).group(1)
    (folder / name).write_text(block)
    return name


MEAN_FIELD = """
import pyro, pyro.distributions as dist, torch


class MeanField(torch.nn.Module):
    def __init__(self, model, config, observation):
        super().__init__()
        self.size, self.layer = config.latent_size, torch.nn.Linear(observation.size, 2 * config.latent_size)

    def forward(self, batch, form="path"):
        mean, scale = self.layer(batch.targets).transpose(0, 1).chunk(2, -1)
        whole = dist.Normal(mean, scale.exp()).to_event(2)
        with pyro.plate("sequences", batch.num_sequences, dim=-1):
            pyro.sample("length", dist.Normal(torch.zeros(batch.num_sequences), 1.0), infer={"is_auxiliary": True})
            return pyro.sample("z", whole)
"""
"""A guide of another kind: all steps at once, with a site that is no path, and none of this package's parts."""


def test_a_guide_of_another_kind_trains_and_is_tested(here, run_py, zf):
    (here / "own.py").write_text(MEAN_FIELD)
    options = [*save_arrays(here, "reals"), *TINY, "--alpha", 0, "--beta", 0, "--guide", "own:MeanField"]
    for number, more in enumerate([[], ["-v"]]):
        accepted(run_py(*options, *more, "--output", here / str(number)))
    accepted(zf("evaluate", here / "0", "--trust", "--device", "cpu"))


@pytest.mark.parametrize(
    ("block", "file", "options"),
    [(PRIOR, "mine.py", ["--prior", "mine:Autoregressive"]), (GUIDE, "window.py", ["--guide", "window:guide"])],
    ids=["prior", "guide"],
)
@pytest.mark.parametrize("data", ["digits", "text"])
def test_an_example_runs_from_the_current_folder(block, file, options, data, here, run_py, zf):
    assert save_block(block, here) == file
    accepted(run_py(*data_of(here, data), *TINY, *options, "--output", here / "run"))
    run = check_run(here / "run", zf)
    name = options[0].removeprefix("--")
    assert getattr(run.config.model, name) == options[1]
    part = run.model.prior if name == "prior" else run.guide.encoder
    assert type(part).__module__ == file.removesuffix(".py")


def test_the_example_of_a_program_trains(capsys):
    names = {}
    exec(compile(PROGRAM, "extending.md", "exec"), names)
    losses = names["losses"]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    assert re.fullmatch(r"-\d+\.\d+ nats per sequence\n", capsys.readouterr().out)


# Plain programs as guides.

WIDTH, LATENT = 3, 2
SMALL = {"embedding_size": 6, "hidden_size": 8, "latent_size": LATENT, "mlp_size": 5}
WITH_LATENTS = ["zforcing", "storn", "vrnn", "srnn", "dmm"]


def tiny_model(family, seed=0, input_dropout=0.0):
    torch.manual_seed(seed)
    config = ModelConfig(family=family, input_dropout=input_dropout, **SMALL)
    return build(config, Observation("bernoulli", WIDTH))[0]


def tiny_bits(lengths=(5, 2, 4)):
    generator = torch.Generator().manual_seed(0)
    bits = [torch.randint(0, 2, (n, WIDTH), generator=generator).float() for n in lengths]
    return SequenceBatch.from_sequences(bits)


def draw_steps(batch, mean, scale):
    """The sites z_1 .. z_T, Gaussians of mean and scale (T, B, Z)."""
    with pyro.plate("sequences", batch.num_sequences, dim=-1):
        for t in pyro.markov(range(1, batch.num_steps + 1)):
            with poutine.mask(mask=batch.mask[t - 1]):
                pyro.sample(f"z_{t}", dist.Normal(mean[t - 1], scale[t - 1]).to_event(1))


def local_guide(batch):
    shape = batch.num_steps, batch.num_sequences, LATENT
    mean = pyro.param("mean", lambda: torch.zeros(shape))
    scale = pyro.param("scale", lambda: torch.ones(shape), constraint=dist.constraints.positive)
    draw_steps(batch, mean, scale)


def fit(model, guide, batch, steps):
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.02}), Trace_ELBO())
    return [svi.step(batch) for _ in range(steps)]


def stored():
    return {name: value.detach().clone() for name, value in pyro.get_param_store().items()}


def assert_same_store(before):
    after = stored()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("family", WITH_LATENTS)
def test_a_guide_function_trains_under_pyros_own_svi(family):
    model, batch = tiny_model(family), tiny_bits()
    losses = fit(model, local_guide, batch, 60)
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    before = stored()
    bound = estimate_bound(model, local_guide, [batch], 10, form="step")
    assert_same_store(before)
    assert bound.elbo <= bound.iw_bound

    def trained(batch):
        draw_steps(batch, before["mean"], before["scale"])

    assert before["mean"].any()
    assert estimate_bound(model, trained, [batch], 10, form="step") == bound


def test_a_guide_function_is_scored_under_the_models_own_parameters():
    """Those of another model that trained under the same name are in the store, and stay there."""
    batch, other = tiny_bits(), tiny_model("vrnn", seed=1)
    fit(tiny_model("vrnn"), local_guide, batch, 3)
    before = stored()
    bound = estimate_bound(other, local_guide, [batch], 10, form="step")
    assert_same_store(before)
    pyro.clear_param_store()
    for name in ("mean", "scale"):
        constraint = dist.constraints.positive if name == "scale" else dist.constraints.real
        pyro.param(name, before[name], constraint=constraint)
    assert estimate_bound(other, local_guide, [batch], 10, form="step") == bound


def test_scoring_a_guide_function_adds_nothing_to_the_store():
    batch = tiny_bits()
    local_guide(batch)
    before = stored()
    estimate_bound(tiny_model("zforcing"), local_guide, [batch], 10, form="step")
    assert_same_store(before)
    fit(tiny_model("vrnn"), local_guide, batch, 1)


@pytest.mark.parametrize("family", ["zforcing", "srnn", "dmm"])
def test_an_autoguide_trains_under_pyros_own_svi(family):
    model, batch = tiny_model(family), tiny_bits((4, 4, 4))
    guide = AutoNormal(model)
    losses = fit(model, guide, batch, 60)
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    before = stored()
    bound = estimate_bound(model, guide, [batch], 10, form="step")
    assert_same_store(before)
    assert bound.elbo <= bound.iw_bound
    with torch.no_grad():
        for location in guide.locs.parameters():
            location += 5
    assert estimate_bound(model, guide, [batch], 10, form="step").elbo < bound.elbo


def test_the_bound_of_an_autoguide_counts_the_density_of_its_own_sites():
    model, batch = tiny_model("zforcing"), tiny_bits((4, 4, 4))
    guide = AutoNormal(model)
    fit(model, guide, batch, 60)
    weights = importance_weights(model, guide, batch, 3000, form="step").log_weights.sum(-1)
    losses = torch.tensor([Trace_ELBO().loss(model, guide, batch) for _ in range(200)])
    error = (weights.var() / len(weights) + losses.var() / len(losses)).sqrt()
    assert abs(weights.mean() + losses.mean()) < 4 * error


def test_an_autoguide_of_a_model_with_dropout_maximises_a_bound():
    """The log-probability of bits is below 0, and so is every bound on it."""
    model, batch = tiny_model("zforcing", input_dropout=0.3), tiny_bits((4, 4, 4))
    losses = fit(model, AutoNormal(poutine.block(model, hide=["input_dropout"])), batch, 60)
    assert np.mean(losses[-10:]) > 0


# Names on the command line.

CHOSEN = {
    "zforcing": ("text", {"guide": "bidirectional", "prior": "mixture", "transition": "cond-ln"}),
    "storn": ("bits", {"guide": "flow", "transition": "gru"}),
    "vrnn": ("reals", {"guide": "filtering", "prior": "flow"}),
    "srnn": ("bits", {"guide": "bidirectional-residual", "prior": "learned-input", "transition": "lstm"}),
    "dmm": ("digits", {"guide": "mean-field"}),
    "rnn": ("text", {"transition": "gru"}),
}


def test_every_family_runs_below():
    assert CHOSEN.keys() == FAMILIES.keys()


@pytest.mark.parametrize("family", CHOSEN)
def test_a_family_runs_from_beginning_to_end(family, here, run_py, zf):
    data, parts = CHOSEN[family]
    folder, parts = here / "run", {"family": family, **parts}
    options = [word for name, value in parts.items() for word in (f"--{name}", value)]
    said = accepted(run_py(*data_of(here, data), *TINY, *options, "--output", folder))
    assert said.startswith(
        ", ".join([family, *(f"{name} {value}" for name, value in parts.items() if value != family)])
    )
    run = check_run(folder, zf)
    table = tomllib.loads((folder / "config.toml").read_text())["model"]
    absent = dict.fromkeys(("guide", "prior", "transition"), "")
    assert {name: table[name] for name in ("family", *absent)} == {**absent, **parts}
    assert {name: getattr(run.config.model, name) for name in parts} == parts
    accepted(run_py("--config", folder / "config.toml", "--output", here / "again"))
    assert (here / "again" / "results.json").read_bytes() == (folder / "results.json").read_bytes()


@pytest.mark.parametrize("transition", ["lstm", "gru"])
@pytest.mark.parametrize("data", ["bits", "reals"])
def test_the_elbo_of_an_rnn_is_its_likelihood(data, transition, here, run_py):
    options = ["--family", "rnn", "--transition", transition, "--output", here / "run"]
    accepted(run_py(*data_of(here, data), *TINY, *options))
    test = results_of(here / "run")
    assert test["kl"] == 0
    assert test["elbo"] == pytest.approx(test["iw_bound"], rel=1e-9)


def test_the_step_form_of_a_family_runs(here, run_py, zf):
    options = ["--family", "srnn", "--form", "step", "--output", here / "run"]
    accepted(run_py(*data_of(here, "reals"), *TINY, *options))
    check_run(here / "run", zf)


def test_samples_of_a_family_are_of_the_size_of_the_data(here, run_py):
    accepted(run_py(*data_of(here, "bits"), *TINY, "--family", "vrnn", "--output", here / "run"))
    with np.load(here / "run" / "samples.npz") as held:
        assert held["samples"].shape == (2, 5, 3)
        assert set(np.unique(held["samples"])) <= {0, 1}


SHORT = {name: "-".join(pair) for name, pair in GUIDES.items() if name != "-".join(pair)}
ABOUT = [
    *((name, family.about) for name, family in FAMILIES.items()),
    *SHORT.items(),
    *(item for kind in (ENCODERS, POSTERIORS, PRIORS, TRANSITIONS) for item in kind.items()),
]


@pytest.mark.parametrize(("name", "about"), ABOUT)
def test_a_part_is_listed_on_a_line(name, about, zf):
    lines = accepted(zf("parts")).splitlines()
    found = [line for line in lines if line.split(maxsplit=1)[0] == name and about in line]
    assert found
    assert all(len(line) <= 120 for line in found)


def test_the_list_names_every_encoder_and_posterior_of_a_guide(zf):
    listed = {line.split()[0] for line in accepted(zf("parts")).splitlines()}
    assert all(set(pair) <= listed for pair in GUIDES.values())


# The weights of the added terms.

RUNS_BACKWARD = [
    {},
    {"family": "zforcing"},
    {"guide": "backward"},
    {"guide": "bidirectional-residual"},
    {"guide": "flow"},
    {"prior": "mixture", "transition": "gru"},
]
WITHOUT_TERMS = [
    *({"family": name} for name in FAMILIES if name != "zforcing"),
    {"guide": "filtering"},
    {"guide": "forward"},
    {"guide": "prior"},
    {"guide": "none-residual"},
    {"family": "srnn", "guide": "backward"},
]


def weights(config):
    return config.objective.alpha, config.objective.beta


def in_words(values):
    return "-".join(map(str, values.values())) or "default"


@pytest.mark.parametrize("values", RUNS_BACKWARD, ids=in_words)
def test_weights_of_the_preset_stay_under_a_backward_guide_of_zforcing(values):
    for by_name in PRESETS.values():
        for config in by_name.values():
            assert weights(override(config, values)) == weights(config)


@pytest.mark.parametrize("values", WITHOUT_TERMS, ids=in_words)
def test_weights_of_the_preset_are_0_elsewhere(values):
    for by_name in PRESETS.values():
        for config in by_name.values():
            one = {"num_layers": 1, "auxiliary_reads": "latent"} if values.get("family") == "dmm" else {}
            assert weights(override(config, {**values, **one})) == (0, 0)


@pytest.mark.parametrize(("family", "beta"), [("srnn", 0), ("dmm", 0.2)])
def test_weights_given_are_kept_by_a_backward_encoder(family, beta):
    config = override(preset("arrays", "quick"), {"family": family, "alpha": 0.1})
    assert weights(config) == (0.1, 0)
    assert weights(override(config, {"hidden_size": 7, "seed": 3})) == (0.1, 0)
    assert weights(override(config, {"prior": "standard-normal", "beta": beta})) == (0.1, beta)
    assert weights(override(config, {"guide": "forward"})) == (0, 0)


def test_the_backward_model_of_srnn_is_refused_for_it_has_seen_what_it_models():
    with pytest.raises(InputError, match=r"the encoder of srnn has seen u_t in d_t; set beta to 0"):
        override(preset("arrays", "quick"), {"family": "srnn", "beta": 0.2})


@pytest.mark.parametrize(("family", "beta"), [("srnn", 0), ("dmm", 0.2)])
def test_a_run_with_weights_of_its_own(family, beta, here, run_py):
    options = ["--family", family, "--alpha", "0.1", "--beta", str(beta)]
    said = accepted(run_py(*data_of(here, "bits"), *TINY, *options, "--output", here / "run"))
    assert said.startswith(f"{family}, alpha 0.1, beta {beta} on arrays")
    read = read_config(here / "run" / "config.toml")
    assert weights(read) == (0.1, beta)
    assert zf_pyro.load(here / "run").config == read
    records = [json.loads(line) for line in (here / "run" / "metrics.jsonl").read_text().splitlines()]
    terms = {"auxiliary", "backward"} if beta else {"auxiliary"}
    assert all(terms <= record.keys() for record in records if "loss" in record)


@pytest.mark.parametrize("values", [{"family": "vrnn"}, {"guide": "filtering"}], ids=in_words)
def test_a_run_without_the_terms_reads_back(values, here, run_py):
    options = [word for name, value in values.items() for word in (f"--{name}", value)]
    accepted(run_py(*data_of(here, "bits"), *TINY, *options, "--output", here / "run"))
    table = tomllib.loads((here / "run" / "config.toml").read_text())["objective"]
    assert (table["alpha"], table["beta"]) == (0, 0)
    assert weights(read_config(here / "run" / "config.toml")) == (0, 0)


@pytest.mark.parametrize("weight", ["alpha", "beta"])
@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--family", "vrnn"], "the guide filtering"),
        (["--family", "storn"], "the guide forward-mean-field"),
        (["--family", "rnn"], "rnn"),
        (["--guide", "filtering"], "the guide filtering"),
        (["--family", "srnn", "--guide", "none-residual"], "the guide none-residual"),
    ],
    ids=str,
)
def test_weights_given_without_a_state_that_runs_backward_are_refused(options, what, weight, here, run_py):
    error = refused(run_py(*data_of(here, "bits"), *TINY, *options, f"--{weight}", "0.1"))
    assert f"a state that runs backward, and {what} has none" in error
    assert not (here / "runs").exists()


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ('[model]\nfamily = "srnn"', (0, 0)),
        ('[model]\nguide = "filtering"', (0, 0)),
        ('[model]\nfamily = "dmm"\n[objective]\nbeta = 0.3', (0, 0.3)),
        ('[model]\nprior = "mixture"', weights(preset("arrays", "quick"))),
        ('[model]\nfamily = ""', None),
    ],
)
def test_a_config_file_written_by_hand(lines, expected, here):
    (here / "c.toml").write_text(f'dataset = "arrays"\npreset = "quick"\n{lines}\n')
    if expected is None:
        with pytest.raises(InputError, match=r"c\.toml: no family ''"):
            read_config(here / "c.toml")
    else:
        assert weights(read_config(here / "c.toml")) == expected


def test_options_on_top_of_a_config_file_follow_the_rule(here, run_py):
    data_of(here, "bits")
    config = f'dataset = "arrays"\npreset = "quick"\nsource = "{here / "bits.npz"}"\n[objective]\nalpha = 0.3\n'
    (here / "c.toml").write_text(config)
    sizes = TINY[2:]
    for options, expected in (([], 0.3), (["--guide", "filtering"], 0), (["--family", "srnn", "--alpha", "0.2"], 0.2)):
        accepted(run_py("--config", here / "c.toml", *sizes, *options, "--output", here / f"run{expected}"))
        assert read_config(here / f"run{expected}" / "config.toml").objective.alpha == expected


# Wrong input.

WRONG_NAMES = {
    "near family": (["--family", "zforcin"], "no family 'zforcin'; near names: zforcing"),
    "far family": (["--family", "x"], f"no family 'x'; there are: {', '.join(sorted(FAMILIES))}"),
    "empty family": (["--family", ""], "no family ''"),
    "near guide": (["--guide", "filterin"], "no guide 'filterin'; near names: filtering"),
    "far guide": (["--guide", "x"], "no guide 'x'; there are: backward, "),
    "near guide of another family": (["--family", "vrnn", "--guide", "filterin"], "near names: filtering"),
    "near prior": (["--prior", "normal"], "no prior 'normal'; near names: standard-normal"),
    "far prior": (["--prior", "x"], f"no prior 'x'; there are: {', '.join(sorted(PRIORS))}"),
    "far transition": (["--transition", "rnn"], "no transition 'rnn'; there are: cond-ln, gru, lstm"),
    "by field": (["--set", "family=zforcin"], "near names: zforcing"),
}
MISFITS = {
    "prior of rnn": (["--family", "rnn", "--prior", "learned"], "rnn has no latent variable"),
    "guide of rnn": (["--family", "rnn", "--guide", "backward"], "rnn has no latent variable"),
    "own prior of rnn": (["--family", "rnn", "--prior", "mine:Good"], "rnn has no latent variable"),
    "transition of dmm": (["--family", "dmm", "--transition", "gru"], "dmm has no recurrent network"),
    "layers of dmm": (["--family", "dmm", "--set", "num_layers=2"], "num_layers must be 1"),
    "transition of srnn": (["--family", "srnn", "--transition", "cond-ln"], "the network of srnn reads no z_t"),
    "own transition of srnn": (["--family", "srnn", "--transition", "mine:gru"], "the network of srnn reads no z_t"),
    "residual of mixture": (["--guide", "residual", "--prior", "mixture"], "the prior mixture is none"),
    "residual of flow": (["--family", "srnn", "--prior", "flow"], "the prior flow is none"),
    "prior of mixture": (["--guide", "prior", "--prior", "mixture"], "draws from a mixture have no gradient"),
    "idle encoder": (["--guide", "backward-prior"], "take the guide prior"),
    "flow of one unit": (["--prior", "flow", "--set", "latent_size=1"], "latent_size must be above 1"),
    "own family and prior": (["--family", "mine:family", "--prior", "learned"], "brings its own"),
}
MINE = """
from dataclasses import replace

import pyro
import pyro.distributions as dist
import torch
from torch import nn

from zf_pyro import Conditional, DiagonalGaussian, GRUTransition, Guide, StandardNormal, TargetEncoder
from zf_pyro.build import build

NUMBER = 3
good = None


class Good(DiagonalGaussian):
    pass


class Fixed(Conditional):
    size = None

    def __init__(self, sizes, latent_size):
        super().__init__(*sizes)
        self.size = latent_size if self.size is None else self.size
        self.mean = nn.Parameter(torch.zeros(self.size))

    def forward(self, context):
        given = next(each for each in (context.hidden, context.latent) if each is not None)
        mean = self.mean.expand(*given.shape[:-1], self.size)
        return dist.Normal(mean, torch.ones_like(mean)).to_event(1)


class Wide(Fixed):
    size = 7


class Narrow(Fixed):
    size = 1


class NoEvent(Fixed):
    def forward(self, context):
        return super().forward(context).base_dist


class NoLaw(Fixed):
    def forward(self, context):
        return super().forward(context).mean


class ReadsHidden(Conditional):
    def __init__(self, sizes, latent_size):
        super().__init__("hidden")
        self.layer = nn.Linear(8, latent_size)

    def forward(self, context):
        mean = self.layer(context.hidden)
        return dist.Normal(mean, torch.ones_like(mean)).to_event(1)


class WantsHidden(DiagonalGaussian):
    def __init__(self, sizes, latent_size):
        super().__init__({"hidden": sizes["hidden"]}, latent_size)


def standard(sizes, latent_size):
    return StandardNormal(latent_size)


def raises(*arguments):
    raise RuntimeError("out of luck\\nand more of it")


def layer(*arguments):
    return nn.Linear(2, 2)


def nothing(*arguments):
    return None


def gru(input_size, latent_size, hidden_size):
    return GRUTransition(input_size, latent_size, hidden_size)


def wide_gru(input_size, latent_size, hidden_size):
    return GRUTransition(input_size, latent_size, hidden_size + 1)


class Silent(nn.Module):
    def __init__(self, model, config, observation):
        super().__init__()
        self.number = nn.Parameter(torch.zeros(1))

    def forward(self, batch, form="step"):
        return self.number


class First(Silent):
    def forward(self, batch, form="step"):
        with pyro.plate("sequences", batch.num_sequences, dim=-1):
            pyro.sample("z_1", dist.Normal(self.number, torch.ones(batch.num_sequences, 3)).to_event(1))


class StepOnly(nn.Module):
    def __init__(self, model, config, observation):
        super().__init__()
        self.inner = filtering(model, config, observation)

    def forward(self, batch, form="step"):
        if form != "step":
            raise NotImplementedError("only steps")
        return self.inner(batch)


def filtering(model, config, observation):
    encoder = TargetEncoder(config.embedding_size)
    sizes = {"hidden": config.hidden_size, "encoding": encoder.size}
    return Guide(model, encoder, DiagonalGaussian(sizes, config.latent_size))


def narrow(model, config, observation):
    return Guide(model, None, DiagonalGaussian({"hidden": config.hidden_size}, 1))


def program(model, config, observation):
    return lambda batch, form="step": None


def family(config, observation):
    return build(replace(config, family="zforcing"), observation)


def only_model(config, observation):
    return family(config, observation)[0]


def three(config, observation):
    return (*family(config, observation), nn.Linear(1, 1))


def in_a_list(config, observation):
    return list(family(config, observation))


def of_layers(config, observation):
    return nn.Linear(2, 2), nn.Linear(2, 2)
"""


@pytest.mark.parametrize("name", [*WRONG_NAMES, *MISFITS])
def test_wrong_names_and_misfits(name, here, run_py):
    options, hint = {**WRONG_NAMES, **MISFITS}[name]
    (here / "mine.py").write_text(MINE)
    assert hint in refused(run_py(*data_of(here, "bits"), *TINY, *options))
    assert not (here / "runs").exists()


OWN = ["family", "guide", "prior", "transition"]
NOT_IMPORTED = {
    "no module": ("nowhere:Name", "nowhere:Name cannot be imported: ModuleNotFoundError: No module named 'nowhere'"),
    "no such name": ("mine:Missing", "mine:Missing cannot be imported"),
    "no module named": (":Name", ":Name cannot be imported"),
    "no name": ("mine:", "mine: cannot be imported"),
    "only a colon": (":", "cannot be imported"),
    "relative": (".mine:Good", "cannot be imported"),
    "number": ("mine:NUMBER", "mine:NUMBER is a int"),
    "none": ("mine:good", "mine:good is a NoneType"),
    "raises": ("broken:Name", "broken:Name cannot be imported: ZeroDivisionError: division by zero"),
    "syntax": ("syntax:Name", "syntax:Name cannot be imported: SyntaxError"),
    "ends the process": ("ending:Name", "ending:Name cannot be imported"),
    "raises when made": ("mine:raises", "mine:raises cannot be made: RuntimeError: out of luck"),
    "makes nothing": ("mine:nothing", "mine:nothing made a NoneType"),
}


@pytest.fixture
def mine(here):
    """The current folder with modules of all sorts."""
    (here / "mine.py").write_text(MINE)
    (here / "broken.py").write_text("1 / 0\n")
    (here / "syntax.py").write_text("def f(:\n")
    (here / "ending.py").write_text("import sys\nsys.exit(0)\n")
    return here


@pytest.mark.parametrize("option", OWN)
@pytest.mark.parametrize("name", NOT_IMPORTED)
def test_a_part_that_cannot_be_had(name, option, mine, run_py):
    part, hint = NOT_IMPORTED[name]
    assert hint in refused(run_py(*data_of(mine, "bits"), *TINY, f"--{option}", part))
    assert not (mine / "runs").exists()


WRONG_PARTS = {
    "prior of the wrong type": (["--prior", "mine:layer"], "mine:layer made a Linear, not a zf_pyro.conditionals.Cond"),
    "transition of the wrong type": (["--transition", "mine:layer"], "made a Linear, not a zf_pyro.transitions"),
    "guide that is no module": (["--guide", "mine:program"], "mine:program made a function"),
    "family that is no module": (["--family", "mine:nothing"], "mine:nothing made a NoneType"),
    "wide prior": (["--prior", "mine:Wide"], "do not work together"),
    "narrow prior": (["--prior", "mine:Narrow"], ""),
    "narrow prior in the step form": (["--prior", "mine:Narrow", "--form", "step"], ""),
    "narrow prior of dmm": (["--family", "dmm", "--prior", "mine:Narrow"], ""),
    "narrow prior of srnn": (["--family", "srnn", "--prior", "mine:Narrow"], ""),
    "wide prior without a KL term": (["--prior", "mine:Wide", "--kl-start", "0"], ""),
    "wide prior in the step form": (["--prior", "mine:Wide", "--form", "step"], ""),
    "prior without events": (["--prior", "mine:NoEvent"], ""),
    "prior without events of two units": (["--prior", "mine:NoEvent", "--set", "latent_size=2"], ""),
    "prior that is no law": (["--prior", "mine:NoLaw"], "do not work together"),
    "prior of dmm that reads hidden": (["--family", "dmm", "--prior", "mine:ReadsHidden"], "do not work together"),
    "prior of dmm that wants hidden": (["--family", "dmm", "--prior", "mine:WantsHidden"], "cannot be made: KeyError"),
    "wide transition": (["--transition", "mine:wide_gru"], "do not work together"),
    "narrow guide": (["--guide", "mine:narrow", "--alpha", "0", "--beta", "0"], ""),
    "guide without sites": (["--guide", "mine:Silent", "--alpha", "0", "--beta", "0"], ""),
    "guide without sites in the step form": (
        ["--guide", "mine:Silent", "--alpha", "0", "--beta", "0", "--form", "step"],
        "",
    ),
    "guide without sites or a KL term": (
        ["--guide", "mine:Silent", "--alpha", "0", "--beta", "0", "--kl-start", "0"],
        "",
    ),
    "guide of the first site only": (["--guide", "mine:First", "--alpha", "0", "--beta", "0", "--form", "step"], ""),
    "guide without a path form": (["--guide", "mine:StepOnly", "--alpha", "0", "--beta", "0"], "do not work together"),
    "guide without the term that is weighed": (
        ["--guide", "mine:filtering", "--alpha", "0.1"],
        "has no auxiliary term",
    ),
    "guide without a term that is weighed at first": (
        ["--guide", "mine:filtering", "--alpha", "linear:0.1:0:1"],
        "has no auxiliary term",
    ),
    "guide without a term that is weighed now and then": (
        ["--guide", "mine:filtering", "--alpha", "cyclic:0:0.1:2"],
        "has no auxiliary term",
    ),
    "guide without sites, its KL term in cycles": (
        ["--guide", "mine:Silent", "--alpha", "0", "--beta", "0", "--gamma", "cyclic:0:1:1000"],
        "",
    ),
    "family of a model only": (["--family", "mine:only_model"], "mine:only_model"),
    "family of three": (["--family", "mine:three"], "mine:three"),
    "family in a list": (["--family", "mine:in_a_list"], "mine:in_a_list"),
    "family of layers": (["--family", "mine:of_layers"], ""),
}


@pytest.mark.parametrize("name", WRONG_PARTS)
def test_a_part_that_does_not_fit(name, mine, run_py):
    options, hint = WRONG_PARTS[name]
    assert hint in refused(run_py(*data_of(mine, "bits"), *TINY, *options))
    assert not (mine / "runs").exists()


GOOD_PARTS = {
    "prior": ["--prior", "mine:Good"],
    "prior of dmm": ["--family", "dmm", "--prior", "mine:Good"],
    "prior that reads little": ["--prior", "mine:Fixed", "--family", "srnn"],
    "transition": ["--transition", "mine:gru"],
    "transition of vrnn in layers": ["--family", "vrnn", "--transition", "mine:gru", "--set", "num_layers=2"],
    "guide": ["--guide", "mine:filtering"],
    "guide of vrnn": ["--guide", "mine:filtering", "--family", "vrnn"],
    "guide in the step form": ["--guide", "mine:StepOnly", "--form", "step"],
    "family": ["--family", "mine:family"],
}


@pytest.mark.parametrize("name", GOOD_PARTS)
def test_a_part_of_ones_own_runs(name, mine, run_py, zf):
    accepted(run_py(*data_of(mine, "bits"), *TINY, *GOOD_PARTS[name], "--output", mine / "run"))
    check_run(mine / "run", zf)


def test_a_family_of_ones_own_keeps_weights_that_are_given(mine, run_py):
    options = ["--family", "mine:family", "--alpha", "0.1"]
    accepted(run_py(*data_of(mine, "bits"), *TINY, *options, "--output", mine / "run"))
    assert weights(read_config(mine / "run" / "config.toml")) == (0.1, 0)


def test_a_part_tried_out_before_training_leaves_no_trace(mine, run_py):
    """The same part by its own name and as one of a user's own: the same numbers."""
    for number, prior in enumerate(("standard-normal", "mine:standard")):
        accepted(run_py(*data_of(mine, "bits"), *TINY, "--prior", prior, "--output", mine / f"run{number}"))
    for name in ("results.json", "metrics.jsonl"):
        assert (mine / "run0" / name).read_bytes() == (mine / "run1" / name).read_bytes()
    assert not stored()


@pytest.mark.parametrize("change", [lambda path: path.unlink(), lambda path: path.write_text("Other = 1\n")])
def test_a_run_whose_part_is_gone_is_not_evaluated(change, mine, run_py, zf):
    accepted(run_py(*data_of(mine, "bits"), *TINY, "--prior", "mine:Good", "--output", mine / "run"))
    del sys.modules["mine"]
    change(mine / "mine.py")
    files = sorted(path.name for path in (mine / "run").iterdir())
    assert "mine:Good cannot be imported" in refused(zf("evaluate", mine / "run", "--num-particles", 4, "--trust"))
    assert sorted(path.name for path in (mine / "run").iterdir()) == files


def test_force_with_a_wrong_part_keeps_the_old_run(mine, run_py):
    data = data_of(mine, "bits")
    accepted(run_py(*data, *TINY, "--output", mine / "run"))
    before = {path.name: path.read_bytes() for path in (mine / "run").iterdir()}
    for part in ("mine:Missing", "mine:Wide"):
        refused(run_py(*data, *TINY, "--prior", part, "--output", mine / "run", "--force"))
    assert {path.name: path.read_bytes() for path in (mine / "run").iterdir()} == before


def test_the_installed_comes_before_the_current_folder(here, run_py, monkeypatch):
    monkeypatch.delitem(sys.modules, "sched", raising=False)
    (here / "sched.py").write_text("raise SystemError('not the one of the standard library')\n")
    error = refused(run_py(*data_of(here, "bits"), *TINY, "--prior", "sched:scheduler"))
    assert "sched:scheduler made a scheduler" in error
