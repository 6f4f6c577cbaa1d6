"""The path form: equal to the step form for the same noise, and never in possession of stale states."""

import gc
import threading
import weakref
from dataclasses import replace

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Predictive, RenyiELBO, Trace_ELBO, TraceMeanField_ELBO
from torch import nn

from tests.kalman import generate, linear_pair
from tests.tiny import SIZES, all_parameters, tiny_batch, tiny_pair
from zf_pyro import (
    Conditional,
    DiagonalGaussian,
    Guide,
    SequenceBatch,
    StochasticRNN,
    ZForcingELBO,
    importance_weights,
    loops,
    recursion,
)
from zf_pyro.benchmark.sizes import Size, build, random_batch
from zf_pyro.build import build as build_pair
from zf_pyro.config import ModelConfig
from zf_pyro.data.corpus import Observation
from zf_pyro.kernels.choice import generic_loop
from zf_pyro.noise import noise
from zf_pyro.parts import FAMILIES as PARTS
from zf_pyro.scopes import local_parameters
from zf_pyro.terms import AUXILIARY, BACKWARD, skip_terms


@pytest.fixture(autouse=True)
def _local(monkeypatch):
    monkeypatch.setattr(loops, "LARGE", 0)
    with local_parameters(), pyro.validation_enabled():
        yield


def frames(dtype):
    """Gaussian emission of real frames, an input projection instead of an embedding, no hidden layer on z."""
    torch.manual_seed(0)
    size = Size(steps=5, sequences=3, data=2, embedded=4, hidden=6, latent=3, mlp=5)
    model, guide = build(size)
    batch = random_batch(size)
    mask = torch.arange(5).unsqueeze(1) < torch.tensor([5, 2, 4])
    data = {"inputs": batch.inputs.to(dtype), "targets": batch.targets.to(dtype)}
    return model.to(dtype), guide.to(dtype), replace(batch, mask=mask, **data)


def words(dtype, **options):
    return *tiny_pair(dtype=dtype, input_dropout=0.3, **options), tiny_batch()


def bits(dtype, **options):
    """Bits a step, in sequences of different lengths whose first inputs are zero, or observed."""
    torch.manual_seed(0)
    observed = options.pop("observed", False)
    sequences = [torch.randint(0, 2, (n + observed, 5)) for n in (5, 2, 4)]
    batch = SequenceBatch.from_sequences(sequences, condition_on_first=observed)
    config = ModelConfig(**SIZES, input_dropout=0.3, **options)
    model, guide = build_pair(config, Observation("bernoulli", 5))
    data = {"inputs": batch.inputs.to(dtype), "targets": batch.targets.to(dtype)}
    return model.to(dtype), guide.to(dtype), replace(batch, **data)


def numbers(dtype, **options):
    """Whole numbers of a range, in sequences of different lengths."""
    torch.manual_seed(0)
    batch = SequenceBatch.from_sequences([torch.randint(-8, 8, (n, 2)) / 4 for n in (5, 2, 4)])
    config = ModelConfig(**SIZES, input_dropout=0.3, emission_components=3, **options)
    model, guide = build_pair(config, Observation("gaussian", 2, mean=(0,), std=(4.0,), limits=(-8, 7)))
    data = {"inputs": batch.inputs.to(dtype), "targets": batch.targets.to(dtype)}
    return model.to(dtype), guide.to(dtype), replace(batch, **data)


def linear_gaussian(dtype):
    """A transition that leaves `over_steps` to the base class, and a prior and an emission of a user's own."""
    model, guide = linear_pair()
    guide.backward = DiagonalGaussian({"encoding": 16}, 2)
    return model.to(dtype), guide.to(dtype), generate(model.to(dtype), 3, 4, dtype)


def reading_everything(dtype):
    """Prior and posterior that also read u_t, one known field among two early or late ones."""
    model, guide, batch = words(dtype)
    torch.manual_seed(1)
    guide.posterior = Shifted("encoding", "input", sizes=(8, 6)).to(dtype)
    model.prior = Shifted("input", "hidden", sizes=(6, 8)).to(dtype)
    return model, guide, batch


class Shifted(Conditional):
    """N(W fields, 0.7^2), without a way of its own over all steps."""

    def __init__(self, *reads, sizes):
        super().__init__(*reads)
        self.mean = nn.Linear(sum(sizes), 3)

    def forward(self, context):
        return dist.Normal(self.mean(self.gather(context)), 0.7).to_event(1)


class Residual(DiagonalGaussian):
    """A posterior with a forward of its own on top of another's."""

    def forward(self, context):
        law = super().forward(context).base_dist
        return dist.Normal(law.loc + context.hidden[..., :3], law.scale).to_event(1)


class Doubled(nn.Linear):
    """A linear layer that is not just that."""

    def forward(self, x):
        return 2 * super().forward(x)


class Nothing(Conditional):
    """N(0, I), reading nothing."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Linear(1, 1)

    def forward(self, context):
        weight = self.unused.weight
        return dist.Normal(weight.new_zeros(3), weight.new_ones(3)).to_event(1)


def with_parts_of_ones_own(dtype):
    """Layers that must be called as they are, and a prior that depends on nothing."""
    model, guide, batch = words(dtype)
    torch.manual_seed(1)
    guide.posterior = Residual({"hidden": 8, "encoding": 8}, 3, hidden=5).to(dtype)
    guide.posterior.network[2] = Doubled(5, 6, dtype=dtype)
    model.transition.recurrent = Doubled(8, 32, bias=False, dtype=dtype)
    model.prior = Nothing().to(dtype)
    return model, guide, batch


def with_hooks(dtype):
    """Hooks on parts whose inside the path form would otherwise use by itself."""
    model, guide, batch = words(dtype)
    for module in (guide.posterior.network[0], model.transition.from_latent[0]):
        module.register_forward_hook(lambda module, args, output: 0.5 * output)
    return model, guide, batch


FAMILIES = {
    "zforcing": words,
    "zforcing-skip": lambda dtype: words(dtype, emission_skip=True, auxiliary_reads="latent+hidden"),
    "zforcing-linear": lambda dtype: words(dtype, transition_mlp=False, learn_initial_state=True),
    "zforcing-own-embedding": lambda dtype: words(dtype, share_embedding=False, detach_auxiliary_target=False),
    "zforcing-frames": frames,
    "zforcing-bits": bits,
    "zforcing-bits-skip": lambda dtype: bits(dtype, emission_skip=True, share_embedding=False, observed=True),
    "zforcing-reading-everything": reading_everything,
    "zforcing-own-parts": with_parts_of_ones_own,
    "zforcing-hooks": with_hooks,
    "linear-gaussian": linear_gaussian,
    "storn": lambda dtype: words(dtype, family="storn"),
    "vrnn": lambda dtype: bits(dtype, family="vrnn"),
    "srnn": lambda dtype: bits(dtype, family="srnn"),
    "srnn-words": lambda dtype: words(dtype, family="srnn", prior="learned-input", num_layers=2),
    "dmm": lambda dtype: bits(dtype, family="dmm"),
    "rnn": lambda dtype: bits(dtype, family="rnn"),
    "cond-ln": lambda dtype: words(dtype, transition="cond-ln", num_layers=2),
    "gru-prior-guide": lambda dtype: bits(dtype, transition="gru", guide="prior"),
    "tied": lambda dtype: words(dtype, emission_law="tied", emission_skip=True),
    "gaussian-mixture": lambda dtype: numbers(dtype, emission_law="gaussian-mixture"),
    "logistic-mixture": lambda dtype: numbers(dtype, emission_law="logistic-mixture", family="vrnn"),
    "mixture": lambda dtype: words(dtype, prior="mixture", guide="filtering"),
    "flows": lambda dtype: words(dtype, prior="flow", guide="flow"),
}
"""A model, a guide and a masked batch of each family; a new one joins by a line."""

OBJECTIVES = {
    "weights": lambda **kinds: ZForcingELBO(0.3, 0.7, 0.4, **kinds),
    "elbo": lambda **kinds: ZForcingELBO(**kinds),
    "trace": Trace_ELBO,
    "mean-field": TraceMeanField_ELBO,
    "renyi": lambda **kinds: RenyiELBO(alpha=0, **{"num_particles": 2, **kinds}),
}


def loss_and_gradients(objective, form, model, guide, batch):
    for parameter in all_parameters(model, guide).values():
        parameter.grad = None
    torch.manual_seed(3)
    with local_parameters(), noise(1):
        loss = objective.loss_and_grads(model, guide, batch, form=form)
    return loss, {name: p.grad for name, p in all_parameters(model, guide).items() if p.grad is not None}


@pytest.fixture
def generic():
    """No kernel serves."""
    with generic_loop():
        yield


DOUBLE, SINGLE = (torch.float64, 1e-12, 1e-10), (torch.float32, 1e-5, 1e-4)
"""Types, and the tolerances of losses and gradients in them."""

PARTICLES = {"one": {}, "two": {"num_particles": 2}, "vectorized": {"num_particles": 2, "vectorize_particles": True}}
# One objective stands for all where they have no say: in single precision, and in particles one after the other.
PAIRS = [(objective, particles) for objective in OBJECTIVES for particles in ("one", "vectorized")]
PAIRS += [("weights", "two")]


@pytest.mark.parametrize(("objective", "particles"), PAIRS, ids=map("-".join, PAIRS))
@pytest.mark.parametrize("family", FAMILIES)
def test_both_forms_give_the_same_loss_and_gradients(family, objective, particles):
    for dtype, loss_tolerance, gradient_tolerance in [DOUBLE, SINGLE] if objective == "weights" else [DOUBLE]:
        model, guide, batch = FAMILIES[family](dtype)
        made = OBJECTIVES[objective](**PARTICLES[particles])
        made.max_plate_nesting = 2 if particles == "vectorized" else 1
        if objective == "weights":
            made.alpha, made.beta = (0.0 if part is None else 0.3 for part in (guide.auxiliary, guide.backward))
        (loss, gradients), (other_loss, other_gradients) = (
            loss_and_gradients(made, form, model, guide, batch) for form in ("step", "path")
        )
        assert other_loss == pytest.approx(loss, rel=loss_tolerance)
        assert gradients.keys() == other_gradients.keys()
        assert any(gradient.any() for gradient in gradients.values())
        for name, gradient in gradients.items():
            error = (gradient - other_gradients[name]).abs().max()
            assert error <= gradient_tolerance * gradient.abs().max() + torch.finfo(dtype).tiny, name


def test_weights_too_small_for_a_product_after_the_loop_get_the_same_gradients(monkeypatch):
    model, guide, batch = words(torch.float64)
    results = []
    for large in (0, 10**9):
        monkeypatch.setattr(loops, "LARGE", large)
        results.append(loss_and_gradients(ZForcingELBO(0.3, 0.7), "path", model, guide, batch))
    (loss, gradients), (other_loss, other_gradients) = results
    assert loss == pytest.approx(other_loss, rel=1e-12)
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, other_gradients[name], rtol=1e-10, atol=1e-12), name


@pytest.mark.parametrize("family", FAMILIES)
def test_both_forms_give_the_same_importance_weights(family):
    model, guide, batch = FAMILIES[family](torch.float64)
    weights = []
    for form in ("step", "path"):
        with noise(2):
            weights.append(importance_weights(model, guide, batch, 7, max_rows=9, form=form))
    for ours, theirs in zip(*weights, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_repeated_particles_are_particles_in_a_plate():
    model, guide = tiny_pair()
    batch = tiny_batch()
    repeated = batch.repeat_particles(4)
    assert repeated.num_sequences == 12
    assert torch.equal(repeated.targets.unflatten(1, (4, 3))[:, 2], batch.targets)
    with noise(2):
        expected = importance_weights(model, guide, batch, 4, max_rows=100).log_weights
    with noise(2):
        folded = importance_weights(model, guide, repeated, 1).log_weights
    assert torch.allclose(folded.unflatten(-1, (4, 3))[0], expected, rtol=1e-12)


def trace_both(model, guide, batch):
    guide_trace = poutine.trace(guide).get_trace(batch, form="path")
    model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(batch, form="path")
    return guide_trace, model_trace


def test_sites_are_one_path_and_one_sequence_of_values_in_one_plate():
    model, guide = tiny_pair()
    batch = tiny_batch()
    guide_trace, model_trace = trace_both(model, guide, batch)
    assert set(model_trace.stochastic_nodes) | set(model_trace.observation_nodes) == {"sequences", "z", "x"}
    assert model_trace.nodes["z"]["value"] is guide_trace.nodes["z"]["value"]
    for trace, name, event in ((guide_trace, "z", (5, 3)), (model_trace, "z", (5, 3)), (model_trace, "x", (5,))):
        site = trace.nodes[name]
        assert site["value"].shape == (3, *event)
        assert site["fn"].batch_shape == (3,)
        assert site["fn"].event_shape == event
        assert [frame.name for frame in site["cond_indep_stack"] if frame.vectorized] == ["sequences"]
    assert guide(batch, form="path").shape == (5, 3, 3)
    assert torch.equal(model(batch, form="path"), batch.targets)


def count_updates(model):
    calls = []
    update = model.transition.update

    def counted(state, context, latent):
        calls.append(latent)
        return update(state, context, latent)

    model.transition.update = counted
    return calls


@pytest.mark.parametrize("objective", [ZForcingELBO(0.1, 0.1), Trace_ELBO(), TraceMeanField_ELBO()])
def test_the_recursion_runs_once_an_evaluation(objective):
    model, guide = tiny_pair(input_dropout=0.3)
    embedded = []
    model.embedding.register_forward_hook(lambda *args: embedded.append(args[1][0].shape))
    updates = count_updates(model)
    objective.differentiable_loss(model, guide, tiny_batch(), form="path")
    assert len(updates) == 5
    whole = [shape for shape in embedded if shape == (5, 3)]
    assert len(whole) == 2  # the inputs and the encoder's targets; dropout looks at a single step to learn a size


def test_without_targets_it_is_refused():
    model, guide = tiny_pair()
    start = SequenceBatch.start(torch.ones(2, dtype=torch.long), 3)
    for program in (model, guide):
        with pytest.raises(ValueError, match=r"this batch has none") as caught:
            program(start, form="path")
        assert "\n" not in str(caught.value)


def test_another_form_is_refused():
    model, guide = tiny_pair()
    for program in (model, guide):
        with pytest.raises(ValueError, match="no form 'paths'; there are step and path"):
            program(tiny_batch(), form="paths")


def joint(model, batch, z, form):
    """log p(x, z) of given latent variables, (T, B, Z), by the step form or the path form."""
    data = {"z": z.transpose(0, 1)} if form == "path" else {f"z_{t}": value for t, value in enumerate(z, 1)}
    return poutine.trace(poutine.condition(model, data=data)).get_trace(batch, form=form).log_prob_sum()


def test_a_conditioned_path_is_scored_by_its_own_states():
    model, guide = tiny_pair()
    batch = tiny_batch()
    guide(batch, form="path")
    z = torch.randn(5, 3, 3, dtype=torch.float64)
    assert joint(model, batch, z, "path").item() == pytest.approx(joint(model, batch, z, "step").item(), rel=1e-12)


def change_a_parameter(model, guide, batch, trace):
    with torch.no_grad():
        model.transition.recurrent.weight.mul_(1.5)
    return batch


def change_the_batch(model, guide, batch, trace):
    return tiny_batch(seed=9)


def change_the_path(model, guide, batch, trace):
    with torch.no_grad():
        trace.nodes["z"]["value"].mul_(0.5)
    return batch


def change_the_dropout(model, guide, batch, trace):
    trace.nodes["input_dropout"]["value"] = 2 - trace.nodes["input_dropout"]["value"]
    return batch


@pytest.mark.parametrize("change", [change_a_parameter, change_the_batch, change_the_path, change_the_dropout])
def test_states_are_not_reused_after_a_change(change):
    model, guide = tiny_pair(input_dropout=0.5)
    batch = tiny_batch()
    trace = poutine.trace(guide).get_trace(batch, form="path")
    batch = change(model, guide, batch, trace)
    updates = count_updates(model)
    replayed = poutine.trace(poutine.replay(model, trace=trace)).get_trace(batch, form="path")
    assert len(updates) == 5
    data = {f"z_{t}": value for t, value in enumerate(trace.nodes["z"]["value"].transpose(0, 1), 1)}
    data["input_dropout"] = trace.nodes["input_dropout"]["value"]
    expected = poutine.trace(poutine.condition(model, data=data)).get_trace(batch)
    assert replayed.log_prob_sum().item() == pytest.approx(expected.log_prob_sum().item(), rel=1e-12)


def test_states_made_without_gradients_are_not_reused_where_gradients_are_wanted():
    model, guide = tiny_pair()
    batch = tiny_batch()
    with torch.no_grad():
        trace = poutine.trace(guide).get_trace(batch, form="path")
    replayed = poutine.trace(poutine.replay(model, trace=trace)).get_trace(batch, form="path")
    replayed.log_prob_sum().backward()
    assert model.transition.recurrent.weight.grad.abs().sum() > 0


def test_what_is_put_together_without_gradients_keeps_them():
    """A divergence for a log does not take the gradient from the one that is trained on."""
    model, guide = tiny_pair()
    batch = tiny_batch()
    gradients = []
    for logged in (False, True):
        model.zero_grad()
        with noise(1), skip_terms(AUXILIARY, BACKWARD):
            guide_trace, model_trace = trace_both(model, guide, batch)
        laws = guide_trace.nodes["z"]["fn"], model_trace.nodes["z"]["fn"]
        if logged:
            with torch.no_grad():
                torch.distributions.kl_divergence(*laws)
        torch.distributions.kl_divergence(*laws).sum().backward()
        gradients.append(model.transition.recurrent.weight.grad.clone())
    assert gradients[0].any()
    assert torch.equal(*gradients)


def test_a_path_scored_without_gradients_is_scored_with_them_too():
    model, guide = tiny_pair()
    law = poutine.trace(guide).get_trace(tiny_batch(), form="path").nodes["z"]["fn"]
    z = law.sample()
    assert law.log_prob(z).requires_grad
    other = torch.randn_like(z)
    with torch.no_grad():
        law.log_prob(other)
    law.log_prob(other).sum().backward()
    assert model.transition.recurrent.weight.grad.any()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_both_forms_run_without_gradients(mode):
    model, guide = tiny_pair()
    losses = []
    for form in ("step", "path"):
        with mode(), noise(1):
            losses.append(ZForcingELBO(0.3, 0.7).differentiable_loss(model, guide, tiny_batch(), form=form).item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-12)


def test_a_path_without_particles_meets_dropout_with_particles():
    model, _ = tiny_pair(input_dropout=0.5)
    batch = tiny_batch()
    z = torch.randn(5, 3, 3, dtype=torch.float64)
    scores = []
    for form in ("step", "path"):
        torch.manual_seed(0)
        with pyro.plate("particles", 2, dim=-2):
            scores.append(joint(model, batch, z, form).item())
    assert scores[1] == pytest.approx(scores[0], rel=1e-12)


class Half(dist.Normal):
    """A law of a user's own, by way of inheritance."""

    def rsample(self, sample_shape=torch.Size()):  # noqa: B008
        return super().rsample(sample_shape) / 2

    def log_prob(self, value):
        return super().log_prob(2 * value) + 0.6931471805599453

    def expand(self, batch_shape, _instance=None):
        return Half(self.loc.expand(batch_shape), self.scale.expand(batch_shape))


def test_a_law_that_inherits_the_normal_one_keeps_its_own_density():
    model, guide = tiny_pair()

    class HalfPosterior(DiagonalGaussian):
        def forward(self, context):
            law = super().forward(context).base_dist
            return Half(law.loc, law.scale).to_event(1)

    guide.posterior = HalfPosterior({"hidden": 8, "encoding": 8}, 3).double()
    batch = tiny_batch()
    with skip_terms(AUXILIARY, BACKWARD):
        path = poutine.trace(guide).get_trace(batch, form="path")
        data = {f"z_{t}": value for t, value in enumerate(path.nodes["z"]["value"].transpose(0, 1), 1)}
        steps = poutine.trace(poutine.condition(guide, data=data)).get_trace(batch)
    expected = steps.log_prob_sum(lambda name, site: name.startswith("z_")).item()
    assert path.log_prob_sum(lambda name, site: name == "z").item() == pytest.approx(expected, rel=1e-12)
    assert model.training


def test_another_model_does_not_take_over_the_states():
    _model, guide = tiny_pair(seed=0)
    other, _ = tiny_pair(seed=1)
    batch = tiny_batch()
    trace = poutine.trace(guide).get_trace(batch, form="path")
    replayed = poutine.trace(poutine.replay(other, trace=trace)).get_trace(batch, form="path")
    z = trace.nodes["z"]["value"].transpose(0, 1)
    assert replayed.log_prob_sum().item() == pytest.approx(joint(other, batch, z, "step").item(), rel=1e-12)


def test_two_particles_keep_their_own_states():
    model, guide = tiny_pair()
    batch = tiny_batch()
    traces = [poutine.trace(guide).get_trace(batch, form="path") for _ in range(2)]
    for trace in reversed(traces):
        replayed = poutine.trace(poutine.replay(model, trace=trace)).get_trace(batch, form="path")
        z = trace.nodes["z"]["value"].transpose(0, 1)
        assert replayed.log_prob_sum().item() == pytest.approx(joint(model, batch, z, "step").item(), rel=1e-12)


def test_two_threads_keep_their_own_states():
    """Every thread runs its guide before any runs its model. One program at a time: Pyro's handler stack is shared."""
    model, guide = tiny_pair()
    batches = [tiny_batch((5, 2, 4), seed=seed) for seed in range(4)]
    lock, all_drawn = threading.Lock(), threading.Barrier(4)
    found = {}

    def score(seed):
        with lock:
            trace = poutine.trace(guide).get_trace(batches[seed], form="path")
        all_drawn.wait()
        with lock:
            replayed = poutine.trace(poutine.replay(model, trace=trace)).get_trace(batches[seed], form="path")
            found[seed] = replayed.log_prob_sum().item(), trace.nodes["z"]["value"].transpose(0, 1)

    threads = [threading.Thread(target=score, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, (score_found, z) in found.items():
        assert score_found == pytest.approx(joint(model, batches[seed], z, "step").item(), rel=1e-12)
    assert len(found) == 4


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.usefixtures("generic")
def test_no_graph_outlives_an_evaluation(backward, family, monkeypatch):
    """States die with the traces and the graph with the loss, not only when the garbage collector runs."""
    model, guide, batch = FAMILIES[family](torch.float64)
    weights = [0.0 if part is None else 0.1 for part in (guide.auxiliary, guide.backward)]
    states, records = [], []
    for module, name, kept in ((recursion, "ListedSteps", states), (loops, "Record", records)):
        made = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, made=made, kept=kept: remembered(made(*args), kept))

    def remembered(thing, kept):
        kept.append(weakref.ref(thing))
        return thing

    def alive(kept):
        return [each for each in kept if each() is not None]

    gc.disable()
    try:
        loss = ZForcingELBO(*weights)(model, guide)(batch, form="path")
        assert states
        assert not alive(states)
        assert bool(alive(records)) == (family not in ("rnn", "zforcing-own-parts"))
        if backward:
            loss.backward()
        del loss
        assert not alive(records)
    finally:
        gc.enable()


def test_the_law_of_paths_scores_what_it_draws():
    _model, guide = tiny_pair()
    batch = tiny_batch()
    law = poutine.trace(guide).get_trace(batch, form="path").nodes["z"]["fn"]
    z = law.rsample((2, 3))
    assert z.shape == (2, 3, 3, 5, 3)
    assert z.requires_grad
    assert law.log_prob(z).shape == (2, 3, 3)
    assert not law.sample().requires_grad
    single = z[1, 2]
    assert torch.allclose(law.log_prob(z)[1, 2], law.log_prob(single), rtol=1e-10)
    longer = batch.mask.sum(0) < 5
    changed = single.clone()
    changed[longer, -1] += 100  # a padded step
    assert torch.equal(law.log_prob(changed), law.log_prob(single))


def test_the_divergence_of_laws_without_a_path_in_common_is_unknown():
    _model, guide = tiny_pair()
    batch = tiny_batch()
    ours, theirs = (poutine.trace(guide).get_trace(batch, form="path").nodes["z"]["fn"] for _ in range(2))
    with pytest.raises(NotImplementedError, match="no path in common"):
        torch.distributions.kl_divergence(ours, theirs)


def test_the_divergence_along_paths_is_unbiased():
    """Its mean over draws is that of log q - log p, which has no closed form here."""
    model, guide = tiny_pair()
    batch = tiny_batch().repeat_particles(3000)
    guide_trace, model_trace = trace_both(model, guide, batch)
    q, p, z = guide_trace.nodes["z"]["fn"], model_trace.nodes["z"]["fn"], guide_trace.nodes["z"]["value"]
    with torch.no_grad():
        difference = torch.distributions.kl_divergence(q, p) - (q.log_prob(z) - p.log_prob(z))
    for errors in difference.unflatten(-1, (3000, 3)).T:
        assert abs(errors.mean()) < 4 * errors.std() / 3000**0.5


class Student(Conditional):
    """A posterior whose steps cannot be put together, nor drawn from normal numbers."""

    def __init__(self):
        super().__init__("hidden", "encoding")
        self.mean = nn.Linear(16, 3, dtype=torch.float64)

    def forward(self, context):
        return dist.StudentT(4.0, self.mean(self.gather(context)), 0.5).to_event(1)


def test_a_posterior_of_another_family_is_scored_as_in_the_step_form():
    model, guide = tiny_pair()
    guide.posterior = Student()
    batch = tiny_batch()
    guide_trace, _model_trace = trace_both(model, guide, batch)
    z = guide_trace.nodes["z"]["value"].transpose(0, 1)
    data = {f"z_{t}": value for t, value in enumerate(z, 1)}
    with skip_terms(AUXILIARY, BACKWARD):
        steps = poutine.trace(poutine.condition(guide, data=data)).get_trace(batch)
    expected = steps.log_prob_sum(lambda name, site: name.startswith("z_"))
    assert guide_trace.log_prob_sum(lambda name, site: name == "z").item() == pytest.approx(expected.item(), rel=1e-12)
    loss = ZForcingELBO(0.1, 0.1).loss(model, guide, batch, form="path")
    assert torch.tensor(loss).isfinite()


class Pointed(Conditional):
    """A posterior without a reparametrisation."""

    def forward(self, context):
        return dist.Poisson(torch.ones(3, 3, dtype=torch.float64)).to_event(1)


def test_a_posterior_without_reparametrisation_is_refused_by_its_site():
    model, guide = tiny_pair()
    guide.posterior = Pointed()
    with pyro.validation_enabled(False), pytest.raises(NotImplementedError, match="'z' is not"):
        ZForcingELBO().loss(model, guide, tiny_batch(), form="path")


@pytest.mark.parametrize("input_dropout", [0.0, 0.2])
@pytest.mark.parametrize("share_embedding", [False, True])
@pytest.mark.parametrize("family", PARTS)
def test_svi_moves_every_parameter(family, share_embedding, input_dropout):
    pyro.clear_param_store()
    model, guide = tiny_pair(input_dropout=input_dropout, family=family, share_embedding=share_embedding)
    before = {name: p.detach().clone() for name, p in all_parameters(model, guide).items()}
    alpha, beta = (0.0 if part is None else 0.1 for part in (guide.auxiliary, guide.backward))
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), ZForcingELBO(alpha, beta))
    for seed in range(3):
        svi.step(tiny_batch((5, 4, 3, 5, 2, 5), seed=seed), form="path")
    assert [n for n, p in all_parameters(model, guide).items() if torch.equal(p, before[n])] == []


@pytest.mark.parametrize("parallel", [False, True])
def test_predictive_draws_from_the_posterior(parallel):
    model, guide = tiny_pair()
    draws = Predictive(model, guide=guide, num_samples=6, parallel=parallel)(tiny_batch(), form="path")
    assert draws["z"].shape == (6, 3, 5, 3)


def test_the_terms_of_the_guide_stay_unseen_by_stock_objectives():
    model, guide = tiny_pair()
    bare = Guide(model, guide.encoder, guide.posterior, name="bare")
    losses = []
    for each in (guide, bare):
        pyro.set_rng_seed(1)
        losses.append(Trace_ELBO().loss(model, each, tiny_batch(), form="path"))
    assert losses[0] == losses[1]


def test_model_alone_draws_its_prior():
    """Without a guide the model's own law of paths is drawn from, and x scored along it."""
    model, _ = tiny_pair()
    batch = tiny_batch()
    trace = poutine.trace(model).get_trace(batch, form="path")
    z = trace.nodes["z"]["value"].transpose(0, 1)
    assert trace.log_prob_sum().item() == pytest.approx(joint(model, batch, z, "step").item(), rel=1e-12)
    assert isinstance(model, StochasticRNN)
