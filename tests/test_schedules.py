"""Schedules: what they are by themselves, in a configuration, in training and on the command line."""

import json
from dataclasses import replace

import pytest
import tomli_w
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.test_training import make_trainer, run, saved_and_read
from tests.toy_runs import SMALL
from tests.updates import before_update, ctrl_c
from zf_pyro import Constant, Cyclic, InputError, Linear, presets, schedule
from zf_pyro.config import ObjectiveConfig, TrainingConfig
from zf_pyro.data.loader import epoch_batches
from zf_pyro.fields import override, to_table
from zf_pyro.metrics import read_metrics
from zf_pyro.presets import PRESETS, preset, read_config
from zf_pyro.schedules import SCHEDULES
from zf_pyro.scopes import local_parameters

AMOUNTS = st.floats(0, 1e9, allow_subnormal=False)  # which the commands flush to zero, process-wide
COUNTS = st.integers(1, 10**6)
CONSTANTS = st.builds(Constant, AMOUNTS)
LINEARS = st.builds(Linear, AMOUNTS, AMOUNTS, COUNTS)


@st.composite
def cyclic(draw, periods=COUNTS):
    low, high = sorted([draw(AMOUNTS), draw(AMOUNTS)])
    return Cyclic(low, high, draw(periods), draw(st.floats(1e-6, 1)))


ANY = st.one_of(CONSTANTS, LINEARS, cyclic())


# By themselves.


def test_known_values():
    assert [Constant(0.3)(step) for step in (0, 1, 10**9)] == [0.3] * 3
    assert [Linear(0.2, 1.0, 4)(step) for step in (0, 1, 2, 4, 9)] == pytest.approx([0.2, 0.4, 0.6, 1.0, 1.0])
    assert [Linear(1.0, 0.0, 2)(step) for step in range(4)] == [1.0, 0.5, 0.0, 0.0]
    assert [Cyclic(0.0, 1.0, 4)(step) for step in range(9)] == [0.0, 0.5, 1.0, 1.0, 0.0, 0.5, 1.0, 1.0, 0.0]
    assert [Cyclic(1.0, 3.0, 4, rise=1.0)(step) for step in range(5)] == [1.0, 1.5, 2.0, 2.5, 1.0]


@given(LINEARS, st.lists(st.integers(0, 2 * 10**6), min_size=2))
def test_a_linear_schedule_goes_from_end_to_end_without_turning(linear, steps):
    assert linear(0) == linear.start
    assert linear(linear.steps) == linear(linear.steps + 7) == linear.end
    values = [linear(step) for step in sorted(steps)]
    assert values == sorted(values, reverse=linear.end < linear.start)
    assert all(min(linear.start, linear.end) <= value <= linear.peak for value in values)
    assert linear.peak in (linear(0), linear(linear.steps))


@given(LINEARS, st.data())
def test_the_increments_of_a_linear_schedule_are_equal(linear, data):
    step = data.draw(st.integers(0, linear.steps - 1))
    expected = (linear.end - linear.start) / linear.steps
    assert linear(step + 1) - linear(step) == pytest.approx(expected, abs=1e-14 * linear.peak)


@given(cyclic(), st.integers(0, 10**6), st.integers(0, 50))
def test_a_cyclic_schedule_repeats_itself(each, step, cycles):
    assert each(step + cycles * each.period) == each(step)
    assert each(cycles * each.period) == each.low
    assert each.low <= each(step) <= each.peak <= each.high


@given(cyclic(periods=st.integers(1, 40)))
def test_a_cycle_rises_and_stays_at_its_height(each):
    values = [each(step) for step in range(each.period)]
    assert values == sorted(values)
    assert max(values) == each.peak
    assert all(value == each.high for step, value in enumerate(values) if step / each.period > each.rise)
    for step, value in enumerate(values):
        share = step / (each.period * each.rise)
        if share < 1:
            assert value == pytest.approx((1 - share) * each.low + share * each.high, rel=1e-12, abs=1e-300)


@given(ANY)
def test_a_text_is_read_back_as_the_same_schedule(each):
    assert schedule(each.text) == each


@given(AMOUNTS)
def test_a_number_is_a_constant(number):
    assert schedule(number) == schedule(str(number)) == Constant(number)
    assert schedule(number).peak == number


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.005", Constant(0.005)),
        ("linear:0.2:1:16000", Linear(0.2, 1.0, 16_000)),
        ("cyclic:0:1:2000", Cyclic(0.0, 1.0, 2_000, 0.5)),
        ("cyclic:0:1:2000:0.8", Cyclic(0.0, 1.0, 2_000, 0.8)),
    ],
)
def test_spellings(text, expected):
    assert schedule(text) == expected
    assert expected.text == text


BAD = {
    "": "",
    "much": "",
    "linear": "",
    "linear:0:1": "",
    "linear:0:1:5:7": "",
    "cyclic:0:1": "",
    "cyclic:0:1:5:0.5:2": "",
    "linear:0:1:5.5": "",
    "cosine:0:1:5": "",
    "Linear:0:1:5": "",
    "nan": "value must be finite",
    "-0.1": "value must not be negative",
    "linear:-1:1:5": "start must not be negative",
    "linear:0:inf:5": "end must be finite",
    "linear:0:1:0": "steps must be a whole number of at least 1",
    "cyclic:nan:1:5": "low must be finite",
    "cyclic:0:-1:5": "high must not be negative",
    "cyclic:1:0:5": "high must not be below low",
    "cyclic:0:1:-5": "period must be a whole number of at least 1",
    "cyclic:0:1:5:0": "rise must be above 0 and at most 1",
    "cyclic:0:1:5:1.1": "rise must be above 0 and at most 1",
    "cyclic:0:1:5:nan": "rise must be above 0 and at most 1",
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_schedule_is_refused_with_the_right_spellings(text):
    with pytest.raises(InputError) as caught:
        schedule(text, "beta")
    message = str(caught.value)
    assert message.startswith("beta must be a number, ")
    assert all(spelling in message for spelling in list(SCHEDULES)[1:])
    assert message.endswith(f"not {text!r}: {BAD[text]}" if BAD[text] else f"not {text!r}")
    assert "\n" not in message


@pytest.mark.parametrize("number", [-1.0, float("nan"), float("inf")])
def test_a_number_that_is_no_weight_is_refused(number):
    with pytest.raises(InputError, match="alpha must "):
        schedule(number, "alpha")


# In a configuration.

FIELDS = ("alpha", "beta", "gamma", "learning_rate")


def field(config, name):
    return getattr(config.training if name == "learning_rate" else config.objective, name)


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_takes_numbers_and_schedules(name, tmp_path):
    start = preset("arrays", "quick")
    for given_, kept in ((0.25, 0.25), (2, 2.0), ("0.25", 0.25), ("1e-3", 0.001), *[("cyclic:0:0.1:7",) * 2]):
        config = override(start, {name: given_})
        assert (field(config, name), type(field(config, name))) == (kept, type(kept))
        assert config == override(start, {name: kept})
        (tmp_path / "config.toml").write_text(tomli_w.dumps(to_table(config)))
        assert read_config(tmp_path / "config.toml") == config


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize(
    "value", ["linear:0:1", -1, "-1", "nan", "inf", 1e300, "linear:0:1e300:5", f"linear:0:1:1{'0' * 30}", True, [1]]
)
def test_a_field_refuses_what_is_no_schedule(name, value):
    with pytest.raises(InputError) as caught:
        override(preset("arrays", "quick"), {name: value})
    assert str(caught.value).startswith(f"{name} must ")
    assert "\n" not in str(caught.value)


def test_gamma_is_what_kl_start_and_kl_steps_say_unless_it_is_given():
    assert ObjectiveConfig().weights["gamma"] == Constant(1.0)
    assert ObjectiveConfig(kl_steps=0).weights["gamma"] == Constant(1.0)
    assert ObjectiveConfig(kl_start=0.3, kl_steps=7).weights["gamma"] == Linear(0.3, 1.0, 7)
    for gamma, expected in ((0.0, Constant(0.0)), ("cyclic:0:1:9", Cyclic(0.0, 1.0, 9))):
        assert ObjectiveConfig(gamma=gamma, kl_start=0.3, kl_steps=7).weights["gamma"] == expected
    for name in ("alpha", "beta"):
        with pytest.raises(InputError, match=f"{name} must be a number"):
            ObjectiveConfig(**{name: ""})


def test_a_schedule_that_is_0_throughout_is_0():
    start = preset("arrays", "quick")
    zero = override(start, {"family": "vrnn", "alpha": "linear:0:0:5", "beta": "cyclic:0:1:1"})
    assert [zero.objective.weights[name].peak for name in ("alpha", "beta")] == [0, 0]
    for name, text in (("alpha", "linear:0.1:0:5"), ("alpha", "linear:0:0.1:5"), ("beta", "cyclic:0:0.1:5:1")):
        with pytest.raises(InputError, match="set both to 0"):
            override(start, {"family": "vrnn", name: text})
    with pytest.raises(InputError, match="set beta to 0"):
        override(start, {"family": "srnn", "beta": "cyclic:0:1:2"})


def test_a_learning_rate_is_above_0_at_some_update():
    assert TrainingConfig(learning_rate="linear:0:0.1:5").rate(0) == 0
    for value in (0.0, "linear:0:0:5", "cyclic:0:1:1"):
        with pytest.raises(InputError, match="learning_rate must be above 0"):
            TrainingConfig(learning_rate=value)


# In training.

RATES = ["0.002", "linear:0.002:0.0001:6", "linear:0:0.003:4", "cyclic:0.0005:0.004:3:0.7"]


@pytest.mark.parametrize("rate", RATES)
def test_each_update_has_the_learning_rate_of_its_schedule(rate):
    """Beside a loop of torch's Adam, told the rate before each step."""
    trainer, other = (make_trainer(max_steps=8, validate_every=100, learning_rate=rate) for _ in range(2))
    records, _ = run(trainer)
    assert [record["learning_rate"] for record in records if "loss" in record] == pytest.approx(
        [schedule(rate)(step) for step in range(8)]
    )
    adam = torch.optim.Adam(other.parameters, eps=1e-5)
    batches = [batch for epoch in range(2) for batch in epoch_batches(other.train.lengths, 8, 0, epoch)][:8]
    other.model.train(), other.guide.train()
    for step, indices in enumerate(batches):
        adam.param_groups[0]["lr"], other.elbo.step, other.step = schedule(rate)(step), step, step
        adam.zero_grad()
        batch = other.train.batch(indices)
        with local_parameters(), other.drawing(indices, batch):
            other.loss(batch, form="path").backward()
        torch.nn.utils.clip_grad_norm_(other.parameters, 100.0)
        adam.step()
    for ours, theirs in zip(trainer.parameters, other.parameters, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-8)


def trained(**options):
    """The records and the parameters of a whole run."""
    trainer = make_trainer(**options)
    return run(trainer)[0], trainer.parameters


def test_a_learning_rate_of_0_changes_nothing():
    trainer = make_trainer(max_steps=1, learning_rate="linear:0:1:9")
    before = [parameter.detach().clone() for parameter in trainer.parameters]
    run(trainer)
    assert all(torch.equal(p, q) for p, q in zip(before, trainer.parameters, strict=True))


def test_a_schedule_that_does_not_change_is_a_number_to_the_bit():
    records, parameters = zip(*(trained(learning_rate=rate) for rate in (0.003, "linear:0.003:0.003:5")), strict=True)
    assert records[0] == records[1]
    assert all(torch.equal(p, q) for p, q in zip(*parameters, strict=True))


def test_halving_is_of_the_whole_schedule(monkeypatch):
    trainer = make_trainer(epochs=4, learning_rate="linear:0.004:0.002:10", min_learning_rate=1.5e-3)
    bounds, kind = iter([-10.0, -11.0, -12.0, -13.0]), trainer.bound_of_validation().__class__
    monkeypatch.setattr(trainer, "bound_of_validation", lambda: kind(1, 1, -20.0, 0.0, next(bounds), 0.0, 1, 0.0))
    records, _ = run(trainer)
    shares = [1.0] * 10 + [0.5] * 5 + [1.5e-3 / 4e-3] * 5  # the peak stops at its least
    expected = [share * Linear(0.004, 0.002, 10)(step) for step, share in enumerate(shares)]
    assert [record["learning_rate"] for record in records if "loss" in record] == pytest.approx(expected)
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(1.5e-3)


def test_weights_are_recorded_where_they_change():
    objective = ObjectiveConfig(alpha="cyclic:0:0.2:4", beta=0.1, gamma="linear:1:0.5:5", kl_start=0.2)
    records = [record for record in run(make_trainer(objective=objective))[0] if "loss" in record]
    assert [record["alpha"] for record in records] == [Cyclic(0, 0.2, 4)(step) for step in range(10)]
    assert [record["gamma"] for record in records] == [Linear(1.0, 0.5, 5)(step) for step in range(10)]
    assert not any("beta" in record for record in records)
    for record in records:
        assert ("auxiliary" in record) == (record["alpha"] > 0)
        loss = record["reconstruction"] + 0.1 * record["backward"] - record["gamma"] * record["kl"]
        loss += record["alpha"] * record.get("auxiliary", 0.0)
        assert record["loss"] == pytest.approx(-loss, rel=1e-5)
    assert not {"alpha", "beta"} & run(make_trainer())[0][0].keys()


@pytest.mark.parametrize("text", ["0.003", "linear:0.001:0.004:7", "cyclic:0:0.004:4"])
def test_a_run_that_was_interrupted_goes_on_with_its_schedules(text):
    objective = ObjectiveConfig(alpha=text, beta=text, gamma=text)
    options = {"objective": objective, "learning_rate": text, "epochs": 3, "validate_every": 3}
    expected, parameters = trained(**options)
    first = make_trainer(**options)
    records, finished = run(first, stop_at=5)
    assert not finished
    state = saved_and_read(first.state())
    second = make_trainer(**options)
    torch.manual_seed(99)
    second.load_state(state)
    more, finished = run(second)
    assert finished
    assert records + more == expected
    assert all(torch.equal(p, q) for p, q in zip(second.parameters, parameters, strict=True))


# On the command line.

SCHEDULED = {"alpha": "cyclic:0:0.01:4", "beta": "0.002", "gamma": "linear:0.5:1:6", "learning-rate": "linear:0.01:0:8"}


def test_a_run_with_schedules_stopped_and_resumed(run_py, reviews, tmp_path):
    options = ["--dataset", "imdb", "--data", reviews, "--max-steps", 8, *SMALL]
    options += [word for name, text in SCHEDULED.items() for word in (f"--{name}", text)]
    assert run_py(*options, "--output", tmp_path / "whole")[0] == 0
    config = read_config(tmp_path / "whole" / "config.toml")
    assert [field(config, name) for name in FIELDS] == [SCHEDULED["alpha"], 0.002, *list(SCHEDULED.values())[2:]]
    with pytest.MonkeyPatch.context() as patch:
        before_update(patch, 4, ctrl_c)
        assert run_py(*options, "--output", tmp_path / "stopped")[0] == 130
    assert run_py("--resume", tmp_path / "stopped")[0] == 0
    for name in ("metrics.jsonl", "results.json"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    updates = [record for record in read_metrics(tmp_path / "whole") if "loss" in record]
    for column, name in (("alpha", "alpha"), ("gamma", "gamma"), ("learning_rate", "learning-rate")):
        expected = [schedule(SCHEDULED[name])(step) for step in range(8)]
        assert [record[column] for record in updates] == pytest.approx(expected)


@pytest.mark.parametrize("name", FIELDS)
def test_an_option_that_is_no_schedule(name, run_py, reviews, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    option = f"--{name.replace('_', '-')}"
    status, _, error = run_py("--dataset", "imdb", "--data", reviews, option, "linear:0:1")
    assert (status, error.count("\n")) == (2, 1)
    assert f"{name} must be a number, linear:START:END:STEPS" in error
    assert not (tmp_path / "runs").exists()


def test_the_headline_spells_the_weights(run_py, reviews, tmp_path):
    options = ["--data", reviews, "--max-steps", 1, "--prior", "mixture", "--alpha", "linear:0:0.5:20", *SMALL]
    status, said, _ = run_py("--dataset", "imdb", *options, "--output", tmp_path / "run")
    assert status == 0
    assert "alpha linear:0:0.5:20, beta 0.005 on imdb" in said.splitlines()[0]
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])["alpha"] == 0


def test_schedules_are_listed_with_their_spellings(zf):
    lines = zf("parts")[1].splitlines()
    for spelling, about in SCHEDULES.items():
        (line,) = [line for line in lines if line.split()[0] == spelling]
        assert about in line
        assert len(line) <= 120


def listed(zf):
    """The presets' table, a row of cells a preset, and the place at which each cell begins."""
    lines = zf("parts")[1].splitlines()
    (begin,) = [number for number, line in enumerate(lines) if line.startswith("Presets")]
    header, *rows = lines[begin + 1 :]
    assert header.split() == ["data", "set", "preset", "alpha", "beta", "gamma", "learning", "rate"]
    for column, title in enumerate(("data set", "preset", "alpha", "beta", "gamma", "learning rate")):
        assert {header.index(title)} == {starts(row)[column] for row in rows}
    return {tuple(row.split()[:2]): row.split()[2:] for row in rows}


def starts(row):
    return [place for place in range(1, len(row)) if row[place] != " " and row[place - 1] == " "]


def test_every_preset_is_listed_with_the_values_of_its_configuration(zf):
    rows = listed(zf)
    assert list(rows) == [(dataset, name) for dataset, by_name in PRESETS.items() for name in by_name]
    for (dataset, name), cells in rows.items():
        objective, training = PRESETS[dataset][name].objective, PRESETS[dataset][name].training
        alpha, beta, gamma, rate = map(schedule, cells)
        assert (alpha, beta) == (schedule(objective.alpha), schedule(objective.beta))
        assert rate == schedule(training.learning_rate)
        assert objective.gamma == ""
        annealed = [objective.kl_start, (objective.kl_start + 1) / 2, 1.0]
        assert [gamma(step * objective.kl_steps // 2) for step in range(3)] == pytest.approx(annealed)


def test_a_preset_that_is_changed_is_listed_as_changed(zf, monkeypatch):
    start = preset("imdb", "quick")
    objective = replace(start.objective, alpha="cyclic:0:0.3:9", beta=0.75, gamma="linear:0:1:12345")
    changed = replace(start, objective=objective, training=replace(start.training, learning_rate="linear:0.5:0:6"))
    monkeypatch.setattr(presets, "PRESETS", {**PRESETS, "imdb": {"quick": changed}})
    expected = ["cyclic:0:0.3:9", "0.75", "linear:0:1:12345", "linear:0.5:0:6"]
    assert listed(zf)["imdb", "quick"] == expected
