"""The laws of x_t: each adds up to one, is refused where it does not fit, and trains."""

import json
from itertools import product

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro.infer import SVI
from torch import nn
from torch.special import ndtr

import zf_pyro
from tests.tiny import SIZES, tiny_batch, tiny_pair
from tests.toy_runs import TINY
from zf_pyro import (
    Categorical,
    Context,
    DiagonalGaussian,
    GaussianMixture,
    InputError,
    LogisticMixture,
    TiedCategorical,
    ZForcingELBO,
    decode,
)
from zf_pyro.build import build
from zf_pyro.config import ModelConfig
from zf_pyro.data.arrays import ArraySettings, load_arrays
from zf_pyro.data.corpus import Observation, mass_score
from zf_pyro.data.loader import subset
from zf_pyro.logistics import DiscretisedLogistics
from zf_pyro.parts import EMISSIONS, FAMILIES
from zf_pyro.presets import preset
from zf_pyro.runs import LoadedRun

SPEECH = Observation("gaussian", 2, rate=16_000, mean=(3.5,), std=(700.0,), limits=(-(2**15), 2**15 - 1))
WORDS = Observation("categorical", 20)
DATA = {"categorical": WORDS, "bernoulli": Observation("bernoulli", 3), "gaussian": SPEECH}


def of(part, rows=3, scale=1.0, seed=0):
    """The law of a part that reads two features, of weights larger than at initialisation, in double precision."""
    torch.manual_seed(seed)
    part = part.double()
    for parameter in part.parameters():
        parameter.data += scale * torch.randn_like(parameter)
    return part(Context(feature=torch.randn(rows, 2).double()))


def points(law):
    """Every point of the lattices, (levels, 1, D)."""
    places = torch.arange(law.levels, dtype=torch.float64).unsqueeze(-1)
    return (law.lowest + places * law.width).unsqueeze(1)


def masses(law):
    """The probabilities of every point of each number, (levels, B, D)."""
    logs = law.log_masses(points(law).unsqueeze(-1), law.lowest.unsqueeze(-1), law.width.unsqueeze(-1))
    return (law.scores.log_softmax(-1) + logs).logsumexp(-1).exp()


@pytest.mark.parametrize("hidden", [None, 5])
def test_the_masses_of_all_samples_of_16_bits_sum_to_one(hidden):
    part = LogisticMixture({"feature": 2}, 2, **SPEECH.lattice, components=4, hidden=hidden)
    total = masses(of(part, scale=2.0)).sum(0)
    assert torch.allclose(total, torch.ones_like(total), rtol=0, atol=1e-11)


NUMBERS = st.floats(-30, 30, allow_subnormal=False)


@settings(max_examples=200, deadline=None)
@given(
    parameters=st.lists(st.tuples(NUMBERS, NUMBERS, st.floats(-8, 6, allow_subnormal=False)), min_size=1, max_size=4),
    lowest=st.floats(-5, 5, allow_subnormal=False),
    width=st.floats(1e-3, 2),
    levels=st.integers(2, 60),
)
def test_the_masses_sum_to_one_whatever_the_parameters(parameters, lowest, width, levels):
    scores, means, log_scales = torch.tensor(parameters, dtype=torch.float64).t()[:, None, None]
    law = DiscretisedLogistics(
        scores, means, log_scales, torch.tensor([lowest]).double(), torch.tensor([width]).double(), levels
    )
    assert masses(law).sum().item() == pytest.approx(1.0, abs=1e-9)
    assert law.log_prob(points(law)).isfinite().all()


def test_a_mass_is_a_difference_of_logistic_functions():
    """Of two numbers with lattices of their own, two components."""
    scores, means, log_scales = torch.randn(3, 2, 2, dtype=torch.float64)
    lowest, width = torch.tensor([-1.0, 0.0]).double(), torch.tensor([0.5, 2.0]).double()
    law = DiscretisedLogistics(scores, means, log_scales, lowest, width, 4)
    for places in product(range(4), repeat=2):
        value = lowest + torch.tensor(places) * width
        expected = 0.0
        for d, place in enumerate(places):
            mass = 0.0
            for k in range(2):
                upper, lower = (
                    torch.sigmoid((value[d] + side * width[d] / 2 - means[d, k]) / log_scales[d, k].exp())
                    for side in (1, -1)
                )
                upper, lower = (1.0 if place == 3 else upper), (0.0 if place == 0 else lower)
                mass += scores[d].softmax(-1)[k] * (upper - lower)
            expected += torch.log(mass)
        assert law.log_prob(value).item() == pytest.approx(float(expected), rel=1e-12)


def test_single_precision_is_enough_for_samples_of_16_bits():
    part = LogisticMixture({"feature": 2}, 2, **SPEECH.lattice, components=4)
    exact = of(part, scale=3.0)
    parameters = (exact.scores, exact.means, exact.log_scales, exact.lowest, exact.width)
    single = DiscretisedLogistics(*(each.detach().float() for each in parameters), exact.levels)
    some = points(exact)[:: 2**16 // 50]
    error = (single.log_prob(some.float()) - exact.log_prob(some)).abs() / exact.log_prob(some).abs().clamp(min=1)
    assert error.max() < 1e-3


def narrow(clamp=None, width=0.01):
    """A part on the lattice 0, w, .., 20 w, and parameters of it that ask for extreme means and scales."""
    part = LogisticMixture({"feature": 2}, 1, lowest=[0.0], width=[width], levels=21, components=2, clamp=clamp)

    def law(mean, log_scale):
        return part.double().law(torch.tensor([[0.0, 0.0, mean, mean, log_scale, log_scale]]).double())

    return law


def test_means_and_scales_of_logistics_are_clamped():
    law = narrow(clamp=2.5)
    for mean, scale, expected in ((9.0, 9.0, (2.5, 2.5)), (-9.0, 2.0, (-2.5, 2.0)), (1.5, -3.0, (1.5, -3.0))):
        found = law(mean, scale)
        assert found.means.tolist() == [[[expected[0]] * 2]]
        assert found.log_scales.tolist() == [[[expected[1]] * 2]]
    assert narrow()(9.0, 9.0).means.tolist() == narrow()(9.0, 9.0).log_scales.tolist() == [[[9.0] * 2]]


def test_a_logistic_law_is_no_narrower_than_its_point():
    """There all but exp(-27) of its mass is at the point, and the neighbour's logarithm is still a moderate number."""
    law = narrow()(0.05, -1e4)
    at, beside = (law.log_prob(torch.tensor([[place * 0.01]]).double()).item() for place in (5, 6))
    assert -np.exp(-26) < at < 0
    assert -28 < beside < -27


@pytest.mark.parametrize("clamp", [8.0, None])
@pytest.mark.parametrize("deviation", [0.5, 700.0, 30_000.0])
def test_no_parameters_are_too_large_for_single_precision(deviation, clamp):
    width = 1 / deviation
    part = LogisticMixture({"feature": 2}, 1, lowest=[-(2**15) * width], width=[width], levels=2**16, clamp=clamp)
    values = torch.tensor([-(2.0**15), -1.0, 0.0, 600.0, 2.0**15 - 1]).reshape(-1, 1, 1) * width
    for signs in product((-1.0, 1.0), repeat=2):
        parameters = torch.randn(3, 10, generator=torch.Generator().manual_seed(0))
        parameters[1:] = 1e4 * torch.tensor(signs).unsqueeze(1)
        parameters = parameters.flatten().unsqueeze(0).requires_grad_()
        logs = part.law(parameters).log_prob(values)
        (gradient,) = torch.autograd.grad(logs.sum(), parameters)
        assert logs.isfinite().all()
        assert gradient.isfinite().all()


def test_draws_of_discretised_logistics_follow_their_masses():
    torch.manual_seed(0)
    scores, means, log_scales = torch.randn(3, 2, 3)
    law = DiscretisedLogistics(scores, means, log_scales, torch.tensor([-2.0]), torch.tensor([0.5]), 9)
    draws = law.expand((20_000,)).sample()
    places = (draws + 2) / 0.5
    assert torch.equal(places, places.round())
    frequencies = torch.stack([(places == place).double().mean(0) for place in range(9)])
    assert torch.allclose(frequencies.float(), masses_of_scalar(law), atol=0.02)


def masses_of_scalar(law):
    """(levels, D), where there is no batch."""
    values = torch.arange(law.levels).reshape(-1, 1, 1) * law.width + law.lowest
    logs = law.log_masses(values, law.lowest.unsqueeze(-1), law.width.unsqueeze(-1))
    return (law.scores.log_softmax(-1) + logs).logsumexp(-1).exp()


def test_gradients_of_a_mass_are_finite_and_right():
    torch.manual_seed(0)
    parameters = [torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    lattice = torch.tensor([-1.0]).double(), torch.tensor([0.25]).double()
    value = torch.tensor([[-1.0, 0.5], [0.75, -1.0], [0.75, 0.75], [0.0, 0.25]]).double()

    def score(*parameters):
        return DiscretisedLogistics(*parameters, *lattice, 8).log_prob(value)

    assert torch.autograd.gradcheck(score, parameters)


@pytest.mark.parametrize("part", [GaussianMixture, DiagonalGaussian])
@pytest.mark.parametrize("clamp", [8.0, None])
def test_the_densities_integrate_to_one(part, clamp):
    options = {"components": 3} if part is GaussianMixture else {}
    law = of(part({"feature": 2}, 2, clamp=clamp, **options), scale=0.3)
    axis = torch.linspace(-30, 30, 601, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).unsqueeze(2)  # (N, N, 1, D)
    total = law.log_prob(grid).exp().sum((0, 1)) * (axis[1] - axis[0]) ** 2
    assert torch.allclose(total, torch.ones_like(total), atol=1e-6)


def test_a_mixture_is_not_the_product_of_its_margins():
    """The component is of the whole step."""
    law = of(GaussianMixture({"feature": 2}, 2, components=2), rows=1)
    weights, parts = law.mixture_distribution.probs[0], law.component_distribution.base_dist
    value = torch.randn(2, dtype=torch.float64)
    joint = sum(
        weights[k] * dist.Normal(parts.loc[0, k], parts.scale[0, k]).log_prob(value).sum().exp() for k in range(2)
    )
    assert law.log_prob(value).exp().item() == pytest.approx(joint.item(), rel=1e-12)


@pytest.mark.parametrize("hidden", [None, 5])
def test_the_probabilities_of_words_sum_to_one(hidden):
    for part in (
        Categorical({"feature": 2}, 20, hidden=hidden),
        TiedCategorical({"feature": 2}, nn.Embedding(20, 6), hidden=hidden),
    ):
        part.double()
        for embedding in getattr(part, "_embedding", ()):
            embedding.double()
        total = of(part).log_prob(torch.arange(20).unsqueeze(-1)).exp().sum(0)
        assert torch.allclose(total, torch.ones_like(total), rtol=1e-12)


def test_a_tied_emission_has_the_embeddings_weights():
    model, _ = build(ModelConfig(**SIZES, emission_law="tied"), WORDS)
    names = dict(model.named_parameters())
    assert "emission.bias" in names
    assert not any(len(p) == WORDS.size and p.dim() == 2 for name, p in names.items() if name != "embedding.weight")
    feature = torch.randn(3, SIZES["hidden_size"])
    scores = model.emission.network(feature) @ model.embedding.weight.t() / SIZES["embedding_size"] ** 0.5
    found = model.emission(Context(feature=feature)).logits
    assert torch.allclose(found, (scores + model.emission.bias).log_softmax(-1), atol=1e-6)
    model.embedding.weight.data *= 2
    assert not torch.allclose(model.emission(Context(feature=feature)).logits, found)


def test_pyro_trains_a_tied_embedding_once():
    """One update by SVI moves it by the rate times its gradient, which both of its uses add up to."""
    pyro.clear_param_store()
    model, guide = tiny_pair(emission_law="tied")
    batch, rate = tiny_batch(), 0.1
    torch.manual_seed(1)
    ZForcingELBO()(model, guide)(batch, form="path").backward()
    weight = model.embedding.weight
    expected = weight.detach() - rate * weight.grad
    model.zero_grad()
    torch.manual_seed(1)
    SVI(model, guide, pyro.optim.SGD({"lr": rate}), ZForcingELBO()).step(batch, form="path")
    assert torch.allclose(model.embedding.weight, expected, rtol=1e-12)
    stored = [value for value in pyro.get_param_store().values() if value.shape == weight.shape]
    assert len(stored) == 1
    pyro.clear_param_store()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", EMISSIONS)
def test_every_emission_in_every_family(name, family):
    observation = DATA[EMISSIONS[name][0]]
    config = ModelConfig(**SIZES, family=family, emission_law=name, emission_components=2)
    if name == "tied" and family == "dmm":
        with pytest.raises(InputError, match="no embedding to tie"):
            build(config, observation)
        return
    run = LoadedRun(*build(config, observation), preset("imdb", "quick"), observation, None)
    for each in decode(run, 3, count=2):
        assert len(each.sequence) <= 3 if observation is WORDS else each.sequence.shape == (3, observation.size)


def fields_of(observation, **options):
    """Those of the emission that a configuration asks for."""
    emission = build(ModelConfig(**SIZES, **options), observation)[0].emission
    return emission.row_size, getattr(emission, "clamp", None), len(list(emission.parameters()))


def test_an_emission_is_what_the_fields_say():
    for name, per_component, other in (("logistic-mixture", 3 * SPEECH.size, 0), ("gaussian-mixture", 4, 3)):
        for options, clamp in (({}, 8.0), ({"emission_clamp": 0.0}, None), ({"emission_clamp": 5.0}, 5.0)):
            size = 3 * (per_component + (other > 0))
            assert fields_of(SPEECH, emission_law=name, emission_components=3, **options) == (size, clamp, 2)
    # a bias, and the two of each layer: one where it reads h_t alone, two where it reads z_t as well
    assert fields_of(WORDS, emission_law="tied")[2] == 3
    assert fields_of(WORDS, emission_law="tied", family="vrnn")[2] == 5


@pytest.mark.parametrize(("name", "law"), [(n, law) for n, (own, _) in EMISSIONS.items() for law in DATA if law != own])
def test_an_emission_of_other_data_is_refused_with_the_reason(name, law):
    with pytest.raises(InputError) as caught:
        build(ModelConfig(**SIZES, emission_law=name), DATA[law])
    assert f"the emission {name} is of " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numbers_that_are_not_whole_have_no_discretised_law():
    with pytest.raises(InputError, match="arrays whose type is an integer of 8 or 16 bits"):
        build(ModelConfig(**SIZES, emission_law="logistic-mixture"), Observation("gaussian", 2, mean=(0,), std=(1,)))


def test_an_unknown_emission_is_refused():
    with pytest.raises(InputError, match="no emission 'logistic'; near names: logistic-mixture"):
        ModelConfig(**SIZES, emission_law="logistic")
    with pytest.raises(InputError, match="brings its own emission"):
        ModelConfig(**SIZES, family="mine:Family", emission_law="gaussian")


def test_the_normal_laws_masses():
    """Against differences of its distribution function, in the middle, at the ends and in the tails."""
    lattice = {"lowest": [-3.0], "width": [0.5], "levels": 13}
    values = np.arange(-3.0, 3.25, 0.5)
    edges = torch.tensor([-np.inf, *(values[:-1] + 0.25), np.inf])
    for value, low, high in zip(values, edges[:-1], edges[1:], strict=True):
        assert mass_score(np.array([[value]]), lattice) == pytest.approx(torch.log(ndtr(high) - ndtr(low)).item())
    total = sum(np.exp(mass_score(np.array([[value]]), lattice)) for value in values)
    assert total == pytest.approx(1.0, abs=1e-12)
    wide = {"lowest": [-50.0], "width": [0.01], "levels": 10_001}
    density = dist.Normal(0.0, 1.0).log_prob(torch.tensor(40.0)).item() + np.log(0.01)
    assert mass_score(np.array([[40.0]]), wide) == pytest.approx(density, rel=1e-4)


@pytest.fixture
def whole_numbers(tmp_path):
    """Random walks of 16-bit integers."""
    generator = np.random.default_rng(0)
    path = tmp_path / "walks.npz"
    steps = {f"a{n}": generator.integers(-300, 301, (6 + n % 3, 2)).cumsum(0) for n in range(30)}
    np.savez(path, **{name: walk.astype(np.int16) for name, walk in steps.items()})
    return path


def arrays(data, folder, *options):
    return ("--dataset", "arrays", "--data", data, *TINY, "--output", folder, *options)


@pytest.mark.parametrize("name", ["gaussian-mixture", "logistic-mixture"])
def test_a_run_of_each_law_of_numbers(name, whole_numbers, run_py, zf, tmp_path):
    folder = tmp_path / "run"
    status, out, err = run_py(*arrays(whole_numbers, folder, "--emission-law", name))
    assert status == 0, err
    assert f"emission {name}" in out
    test = json.loads((folder / "results.json").read_text())["test"]
    assert ("elbo_original" in test) == (name == "gaussian-mixture")
    samples = np.load(folder / "samples.npz")["samples"]
    if name == "logistic-mixture":
        bits = -test["iw_bound"] * test["num_sequences"] / test["num_steps"] / 2 / np.log(2)
        assert test["bits_per_number"] == pytest.approx(bits)
        corpus = load_arrays(whole_numbers, ArraySettings())
        # of so many levels a mass is the density times the width, 1 in the units of the data
        chosen = subset(len(corpus.test.lengths), 3, 0)
        density = corpus.marginal_score(chosen) - corpus.observation.log_scale * test["num_steps"] / len(chosen)
        assert test["marginal"] == pytest.approx(density, abs=1e-3)
        assert test["iw_bound"] < 0  # the logarithm of a probability
        assert f"bits per number at most {bits:.3f}" in out
        assert np.allclose(samples, samples.round(), atol=1e-2)
        assert abs(samples).max() <= 2**15
    model = zf_pyro.load(folder).model
    assert type(model.emission) is {"gaussian-mixture": GaussianMixture, "logistic-mixture": LogisticMixture}[name]
    status, out, err = zf("evaluate", folder)
    assert status == 0, err


def test_a_run_of_before_there_were_limits_is_read(whole_numbers, run_py, zf, tmp_path):
    assert run_py(*arrays(whole_numbers, tmp_path / "run"))[0] == 0
    path = tmp_path / "run" / "observation.json"
    table = json.loads(path.read_text())
    assert table.pop("limits") == [-(2**15), 2**15 - 1]
    path.write_text(json.dumps(table))
    assert zf_pyro.load(tmp_path / "run").observation.limits == ()
    assert zf("evaluate", tmp_path / "run")[0] == 0


def test_emissions_that_do_not_fit_the_data_on_the_command_line(whole_numbers, run_py, tmp_path):
    for name, reason in (
        ("tied", "the emission tied is of classes, and a step of this data is of real numbers"),
        ("logistics", "no emission 'logistics'"),
    ):
        status, _, err = run_py(*arrays(whole_numbers, tmp_path / "run", "--emission-law", name))
        assert (status, err.count("\n")) == (2, 1)
        assert reason in err
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("kinds", "limits"),
    [
        ([np.int16], (-(2**15), 2**15 - 1)),
        ([np.uint8, np.int8], (-128, 255)),
        ([np.int32], ()),
        ([np.int16, np.float32], ()),
    ],
    ids=str,
)
def test_the_range_of_arrays_is_that_of_their_type(kinds, limits, tmp_path):
    path = tmp_path / "numbers.npz"
    np.savez(path, **{f"a{n}": (np.arange(5) * 3 + n).astype(kinds[n % len(kinds)]) for n in range(20)})
    corpus = load_arrays(path, ArraySettings())
    assert corpus.observation.limits == limits
    assert bool(corpus.observation.lattice) == bool(limits)


class Laplace(zf_pyro.Conditional):
    """An emission of one's own, as docs/extending.md describes it."""

    def __init__(self, sizes, observation):
        super().__init__(*sizes)
        self.mean = nn.Linear(sum(sizes.values()), observation.size)

    def forward(self, context):
        mean = self.mean(self.gather(context))
        return dist.Laplace(mean, torch.ones_like(mean)).to_event(1)


def test_an_emission_of_ones_own(whole_numbers, run_py, tmp_path):
    own = f"{__name__}:Laplace"
    status, _, err = run_py(*arrays(whole_numbers, tmp_path / "run", "--emission-law", own))
    assert status == 0, err
    assert type(zf_pyro.load(tmp_path / "run", trust=True).model.emission) is Laplace
    status, _, err = run_py(*arrays(whole_numbers, tmp_path / "other", "--emission-law", f"{__name__}:SPEECH"))
    assert (status, err.count("\n")) == (2, 1)


class Flat(Laplace):
    """One whose numbers are not one event, so that its laws are of other sequences than the batch's."""

    def forward(self, context):
        return super().forward(context).base_dist


def test_an_emission_of_ones_own_is_tried_before_anything_is_written(whole_numbers, run_py, tmp_path):
    status, _, err = run_py(*arrays(whole_numbers, tmp_path / "run", "--emission-law", f"{__name__}:Flat"))
    assert (status, err.count("\n")) == (2, 1)
    assert "the parts named do not work together" in err
    assert not (tmp_path / "run").exists()
