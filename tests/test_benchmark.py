"""The benchmark's programs compute the same thing, and the command prints and draws it."""

import json

import pytest
import torch

from zf_pyro.benchmark import alone, contenders, evaluation, families, measure, precision, report, sizes, together
from zf_pyro.benchmark.sizes import SIZES, Size
from zf_pyro.noise import noise
from zf_pyro.parts import FAMILIES
from zf_pyro.scopes import local_parameters

TINY = {
    "speech": Size(4, 3, 5, 4, 6, 3, 5),
    "text": Size(3, 3, 6, 4, 6, 3, 5, latent_layer=True),
    "pixels": Size(5, 3, 1, 4, 6, 3, 5),
    "text-softmax": Size(3, 3, 11, 4, 6, 3, 5, latent_layer=True, words=True),
}
CPU = torch.device("cpu")


@pytest.mark.parametrize("name", SIZES)
def test_all_programs_compute_one_loss(name, monkeypatch):
    """With the same noise: the two forms and the plain loop; the floor once it is given the path that they draw."""
    torch.manual_seed(0)
    size = TINY[name]
    model, guide = sizes.build(size)
    batch = sizes.random_batch(size)
    losses = {}
    with local_parameters(), torch.no_grad():
        for form in ("step", "path"):
            with noise(1):
                losses[form] = contenders.InForm(model, guide, form)(batch).item()
        with noise(1):
            path = guide(batch, form="path")
        generator = torch.Generator().manual_seed(1)
        monkeypatch.setattr(torch, "randn_like", lambda x: torch.randn(x.shape, generator=generator))
        losses["plain"] = contenders.PlainLoop(model, guide)(batch).item()
        floor = contenders.Floor(model, guide, size)
        floor.path.copy_(path)
        copy_recurrent_weights(floor.lstm, model.transition)
        losses["floor"] = floor(batch).item()
    assert losses["step"] != 0
    for program, loss in losses.items():
        assert loss == pytest.approx(losses["step"], rel=1e-5), program


def copy_recurrent_weights(lstm, transition):
    last = transition.from_latent[-1] if isinstance(transition.from_latent, torch.nn.Sequential) else None
    from_latent = (last or transition.from_latent).weight
    lstm.weight_ih_l0.copy_(torch.cat([transition.from_input.weight, from_latent], 1))
    lstm.weight_hh_l0.copy_(transition.recurrent.weight)
    lstm.bias_ih_l0.copy_(transition.from_input.bias)
    lstm.bias_hh_l0.zero_()


@pytest.mark.parametrize("name", SIZES)
def test_a_step_of_each_program_trains(name):
    torch.manual_seed(0)
    with local_parameters():
        steps = contenders.contenders(TINY[name], CPU, [*report.PROGRAMS, "segments"])
        for step in steps.values():
            step()


def test_a_step_in_every_precision_is_taken_in_it(monkeypatch):
    """From the same parameters and draws."""
    exactness = []

    def one_loss(name):
        torch.manual_seed(0)
        losses = []
        monkeypatch.setattr(precision, "training_step", lambda program, batch: lambda: losses.append(program(batch)))
        with local_parameters():
            step = precision.precision_steps(TINY["speech"], CPU)[name]
            with monkeypatch.context() as patch:
                patch.setattr(torch, "addmm", noting(torch.addmm))
                step()
        return losses[0].item()

    def noting(real):
        def noted(*args, **options):
            exactness.append(torch.get_float32_matmul_precision())
            return real(*args, **options)

        return noted

    losses = {name: one_loss(name) for name in precision.PRECISIONS}
    assert losses["float32"] == pytest.approx(losses["float32, high"], rel=1e-3)
    assert losses["float32"] != losses["bfloat16"] == pytest.approx(losses["float32"], rel=1e-2)
    assert set(exactness) == {"highest", "high"}


def test_the_evaluators_bound_the_same_likelihood():
    torch.manual_seed(0)
    with local_parameters():
        programs = evaluation.evaluators(TINY["text"], 200, CPU)
        weights = {form: programs[form]().log_weights for form in ("path_form", "step_form")}
        bounds = {form: (each.logsumexp(0) - torch.tensor(200.0).log()).sum().item() for form, each in weights.items()}
        bounds |= {name: -programs[name]() for name in ("renyi", "renyi_vectorized")}
    assert list(programs) == ["path_form", "step_form", "renyi", "renyi_vectorized"]
    assert set(programs) == set(report.EVALUATORS)
    for bound in bounds.values():
        assert bound == pytest.approx(bounds["step_form"], abs=1.0)


def test_medians_come_from_alternating_runs_after_a_first_round():
    order = []
    times = measure.alternating_medians({n: lambda n=n: order.append(n) for n in "ab"}, 3, CPU)
    assert order == list("abababab")
    assert set(times) == {"a", "b"}
    assert all(seconds >= 0 for seconds in times.values())


def test_the_peak_of_a_program_is_measured_in_its_own_process():
    """Parameters, gradients and Adam's two moments; and with many steps the gates of all of them."""
    model, guide = sizes.build(SIZES["text"])
    state = 4 * 4 * sum(p.numel() for program in (model, guide) for p in program.parameters()) / measure.MIB
    task = report.task("text", "path_form", CPU, steps=2)
    short, long = measure.peak_memory(task), measure.peak_memory({**task, "steps": 52})
    assert short > state
    assert long - short > 4 * 50 * 32 * 4 * 500 / measure.MIB
    with pytest.raises(RuntimeError, match="failed"):
        measure.peak_memory({**task, "program": "no such program"})


def test_an_evaluation_is_measured_alone(monkeypatch):
    monkeypatch.setitem(SIZES, "text", TINY["text"])
    assert alone.measure({**report.task("text", "path_form", CPU, num_particles=3), "steps": 2}) >= 0


@pytest.fixture
def _small(monkeypatch):
    for name, size in TINY.items():
        monkeypatch.setitem(SIZES, name, size)
    monkeypatch.setattr(report, "peak_memory", lambda task: 12.5)
    monkeypatch.setattr(report, "STEPS", (2, 4))
    monkeypatch.setattr(report, "PARTICLES", (1, 3))
    monkeypatch.setattr(report, "NUM_PARTICLES", 4)
    monkeypatch.setattr(together, "carried_out", lambda module, task, processes: together.measure(task))
    monkeypatch.setattr(families, "STEPS", 3)
    monkeypatch.setattr(families, "SIZES", dict.fromkeys(families.SIZES, 4))


@pytest.mark.usefixtures("_small")
def test_the_command_prints_ratios_and_json(zf):
    status, out, err = zf("benchmark", "--repeats", 2, "--device", "cpu", "--json")
    assert status == 0, err
    figures = json.loads(out)
    assert figures["machine"]["threads"] == torch.get_num_threads()
    assert set(figures["sizes"]) == set(SIZES)
    for times in figures["sizes"].values():
        assert set(times) == {"step_form", "path_form", "generic_loop", "plain_loop", "floor"}
        assert all(seconds > 0 for seconds in times.values())
    assert set(figures["evaluation"]["seconds"]) == set(report.EVALUATORS)
    assert set(figures["families"]) == set(FAMILIES)
    assert set(figures["precision"]) == set(SIZES)
    assert all(set(times) == set(precision.PRECISIONS) for times in figures["precision"].values())
    assert set(figures["processes"]) == set(together.TOGETHER)
    assert all(len(times) == len(together.teams()) for times in figures["processes"].values())
    for word in ("torch", "threads", "| against step form |", "times faster", "times slower", "MiB"):
        assert word in err


def test_an_update_is_measured_by_two_processes():
    task = {"size": "text", "sequences": 3, "updates": 1, "device": "cpu", "threads": 1}
    assert measure.carried_out("zf_pyro.benchmark.together", task, 2) > 0


@pytest.mark.usefixtures("_small")
def test_the_command_measures_one_size(zf):
    status, out, _ = zf("benchmark", "--sizes", "pixels", "--repeats", 1, "--device", "cpu")
    assert status == 0
    assert "| pixels | " in out
    assert "speech" not in out


@pytest.mark.usefixtures("_small")
def test_the_command_draws_how_cost_grows(zf, tmp_path):
    picture = tmp_path / "scaling.png"
    status, out, _ = zf("benchmark", "--scaling", picture, "--repeats", 1, "--device", "cpu")
    assert status == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "| 4 | " in out
    assert "| 3 | " in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["--sizes", "huge"],
        ["--repeats", "0"],
        ["--device", "cuda:99"],
        ["--scaling", "picture.jpg"],
        ["--scaling", "no/such/folder/picture.png"],
    ],
)
def test_wrong_options_are_refused_in_one_line(zf, arguments):
    status, _, err = zf("benchmark", *arguments)
    assert status == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
