"""Finished runs side by side."""

import csv
import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiny import tiny_batch, tiny_pair
from tests.toy_runs import TINY, call, not_drawn
from tests.updates import after_update
from zf_pyro import InputError, estimate_bound, load, runs
from zf_pyro.bounds import sequence_bounds, standard_error
from zf_pyro.checkpoints import read_checkpoint
from zf_pyro.compare.picture import plot_comparison
from zf_pyro.compare.report import all_figures, notes, table
from zf_pyro.compare.rows import Row, grouped, paired
from zf_pyro.compare.tested import Finished, Outcome
from zf_pyro.data.loader import subset
from zf_pyro.evaluation import evaluate, in_order
from zf_pyro.fields import override
from zf_pyro.metrics import read_metrics
from zf_pyro.opening import open_corpus
from zf_pyro.presets import preset
from zf_pyro.run_commands import train
from zf_pyro.scores import Scores, read_scores, write_scores
from zf_pyro.tables import aligned, markdown
from zf_pyro.timing import read_timing, write_timing

OPTIONS = ["--dataset", "arrays", *TINY, "--eval-sequences", "10", "--set", "test_fraction=0.3"]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Finished runs by name, and the data of all of them; to be copied."""
    root = tmp_path_factory.mktemp("shelf")
    numbers = np.random.default_rng(0)
    np.savez(root / "bits.npz", **{f"a{n}": numbers.integers(0, 2, (3 + n % 5, 3)).astype(bool) for n in range(60)})
    options = {"plain": [], "again": ["--seed", 1], "rnn": ["--family", "rnn"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZF_PYRO_CACHE", str(root / "cache"))
        not_drawn(patch)
        for name, more in options.items():
            assert call(patch, train, *OPTIONS, "--data", root / "bits.npz", *more, "--output", root / name) == 0
    return root


@pytest.fixture
def made(shelf, tmp_path):
    """The folders of copies: seeds 0 and 1 of Z-Forcing, and a plain RNN."""
    return tuple(shutil.copytree(shelf / name, tmp_path / name) for name in ("plain", "again", "rnn"))


def outcome(seed=0, bounds=(-3.0, -5.0), elbo=None, lengths=None, config=None, fivo=None, **test):
    """A test as if read from a folder."""
    bounds = np.array(bounds)
    n = len(bounds)
    lengths = np.full(n, 2) if lengths is None else np.array(lengths)
    details = {} if fivo is None else {"fivo_bound": np.array(fivo)}
    scores = Scores(np.arange(n), lengths, bounds if elbo is None else np.array(elbo), bounds, n, details)
    config = replace(config or preset("imdb", "quick"), seed=seed)
    figures = {"num_particles": 5, "num_sequences": n, "num_steps": int(lengths.sum()), "kl": 0.5, "active_units": 1}
    found = {"sequence": "sentence", "step": "token", "measure": "probability", "test": {**figures, **test}}
    timing = {"seconds_per_step": 0.5 + seed, "device": "cpu", "num_threads": 1}
    return Outcome(Finished(runs.Path(f"run-{seed}"), config, "f", {"num_parameters": 1234}, timing), found, scores)


finite = st.floats(-1e3, 1e3, allow_subnormal=False)  # the commands flush them to zero, process-wide


@settings(deadline=None)
@given(st.integers(2, 9).flatmap(lambda n: st.lists(st.lists(finite, min_size=n, max_size=n), min_size=3, max_size=3)))
def test_means_and_paired_standard_errors(values):
    """Two seeds of one row beside one of another."""
    one, other = Row("a", [outcome(0, values[0]), outcome(1, values[1])]), Row("b", [outcome(0, values[2])])
    mean, reference = (np.array(values[0]) + np.array(values[1])) / 2, np.array(values[2])
    n = len(mean)
    assert one.bound == pytest.approx(mean.mean(), abs=1e-9)
    assert one.spread == pytest.approx(np.std([np.mean(values[0]), np.mean(values[1])], ddof=1), abs=1e-9)
    assert other.spread is None
    difference, error = paired(one, other)
    assert difference == pytest.approx(mean.mean() - reference.mean(), abs=1e-9)
    assert error == pytest.approx(np.std(mean - reference, ddof=1) / math.sqrt(n), abs=1e-9)
    variance = mean.var(ddof=1) + reference.var(ddof=1) - 2 * np.cov(mean, reference)[0, 1]
    assert error**2 * n == pytest.approx(variance, abs=1e-6)
    first, second = all_figures([one, other])
    assert first["difference"] is None
    assert second["difference"] == pytest.approx(-difference, abs=1e-9)
    assert first["iw_bound_se"] == pytest.approx(standard_error(torch.tensor(mean)), abs=1e-9)


def test_pairing_takes_out_what_the_sequences_share():
    """A shift by one nat of sequences that differ by hundreds has no error at all."""
    bounds = np.array([-10.0, -300.0, -70.0])
    figures = all_figures([Row("a", [outcome(0, bounds)]), Row("b", [outcome(0, bounds + 1)])])
    assert (figures[1]["difference"], figures[1]["difference_se"]) == (1.0, 0.0)
    assert figures[1]["iw_bound_se"] > 50


def test_other_figures_of_a_row():
    row = Row("a", [outcome(0, (-4.0, -9.0), lengths=(1, 3), kl=1.0), outcome(1, (-2.0, -5.0), lengths=(1, 3), kl=2.0)])
    (figures,) = all_figures([row])
    assert figures["iw_bound_per_step"] == -10.0 / 4
    assert (figures["kl"], figures["active_units"], figures["num_parameters"]) == (1.5, 1.0, 1234)
    assert figures["kl_per_step"] == 1.5 * 2 / 4
    assert figures["seconds_per_step"] == 1.0
    assert figures["perplexity"] is None
    text = Row("a", [outcome(0, (-4.0, -8.0), lengths=(1, 3), perplexity=math.exp(3))])
    assert all_figures([text])[0]["perplexity"] == pytest.approx(math.exp(3))


def test_the_bounds_of_a_particle_filter_have_columns_where_there_are_some():
    filtered = [outcome(0, lengths=(1, 3), fivo=(-2.0, -5.0)), outcome(1, lengths=(1, 3), fivo=(-4.0, -3.0))]
    rows = [Row("a", filtered), Row("b", [outcome(0, lengths=(1, 3))])]
    figures = all_figures(rows)[0]
    assert (figures["fivo_bound"], figures["fivo_bound_se"], figures["fivo_bound_per_step"]) == (-3.5, 0.5, -7 / 4)
    head, *lines = table(rows)
    cells = [dict(zip(head, line, strict=True)) for line in lines]
    assert [each["FIVO"] for each in cells] == ["-3.500 +- 0.500", "-"]
    assert "FIVO" not in table(rows[1:])[0]
    assert Row("c", [filtered[0], outcome(1)]).filtered is None


def test_a_missing_figure_is_a_dash():
    rows = [Row("a", [outcome(0, active_units=None)]), Row("b", [], [0, 1]), Row("c", [outcome(0, (-3.0, math.nan))])]
    head, *lines = table(rows)
    cells = [dict(zip(head, line, strict=True)) for line in lines]
    assert cells[0]["active units"] == cells[0]["difference"] == cells[0]["spread"] == "-"
    assert cells[1]["seeds"] == "failed"
    assert {cells[1][name] for name in head[2:]} == {"-"}
    assert cells[2]["IW bound"] == "-"
    assert "failed: b, seed 0, 1" in list(notes(rows))


def test_seconds_of_different_machines_are_marked():
    one, other = outcome(0), outcome(1)
    assert "do not compare" not in " ".join(notes([Row("a", [one, other])]))
    other.run.timing["num_threads"] = 8
    assert "do not compare" in " ".join(notes([Row("a", [one, other])]))


def test_runs_that_differ_in_what_changes_nothing_but_the_draws_are_one_row():
    base = preset("imdb", "quick")
    same = [{"num_workers": 2, "device": "cuda"}, {"source": "/elsewhere", "num_particles": 9}]
    configs = [base, *(override(base, change) for change in same), override(base, {"family": "rnn"})]
    rows = grouped(outcome(seed, config=config) for seed, config in enumerate(configs))
    assert [[run.seed for run in row.runs] for row in rows] == [[0, 1, 2], [3]]
    assert [row.name for row in rows] == ["family=zforcing, alpha=0.005, beta=0.005", "family=rnn, alpha=0, beta=0"]


def test_rows_that_differ_in_much_are_named_by_their_folders():
    base = preset("imdb", "quick")
    other = override(base, {"hidden_size": 5, "latent_size": 3, "mlp_size": 4, "learning_rate": 0.1})
    assert [row.name for row in grouped([outcome(0, config=base), outcome(1, config=other)])] == ["run-0", "run-1"]


def test_the_same_run_twice_is_refused():
    with pytest.raises(InputError, match="are the same run, seed 4"):
        grouped([outcome(4), outcome(4)])


def test_bounds_of_sequences_are_those_that_the_estimate_is_the_mean_of():
    pair, batches = tiny_pair(), [tiny_batch((5, 2)), tiny_batch((3, 3, 1))]
    single, whole = sequence_bounds(*pair, batches, 7, seed=2), estimate_bound(*pair, batches, 7, seed=2)
    assert single.over_all() == whole
    assert single.lengths.tolist() == [5, 2, 3, 3, 1]
    assert (single.elbo <= single.iw_bound).all()
    order = np.array([7, 3, 4, 0, 9])
    details = {"curve_particles": torch.tensor([1, 7]), "effective_sample_size": torch.arange(5.0)}
    scores = in_order(single, details, order, 20)
    assert scores.indices.tolist() == [0, 3, 4, 7, 9]
    assert scores.elbo.tolist() == single.elbo[[3, 1, 2, 0, 4]].tolist()
    assert scores.lengths.tolist() == [3, 2, 3, 5, 1]
    assert scores.details["curve_particles"].tolist() == [1, 7]
    assert scores.details["effective_sample_size"].tolist() == [3, 1, 2, 0, 4]


def test_each_score_is_of_the_sequence_at_its_index(shelf):
    """Of a model without latent variables the bound is its likelihood, however it is batched."""
    model, guide, config, *_ = load(shelf / "rnn")
    corpus = open_corpus(config, print)
    scores = read_scores(shelf / "rnn" / "evaluation-3.npz")
    assert scores.split_size == len(corpus.test.lengths) == 18
    assert np.array_equal(scores.indices, subset(18, 10, config.data.split_seed))
    assert np.array_equal(scores.lengths, corpus.test.lengths[scores.indices])
    assert not np.array_equal(scores.lengths, np.sort(scores.lengths))
    for index, elbo in zip(scores.indices, scores.elbo, strict=True):
        alone = estimate_bound(model, guide, [corpus.test.batch(np.array([index]))], 1)
        assert alone.elbo == pytest.approx(elbo, rel=1e-5)
    again = evaluate(model, guide, config, corpus)
    assert np.array_equal(again.scores.iw_bound, scores.iw_bound)
    assert again.figures["active_units"] == 0


def test_the_bounds_of_a_particle_filter_are_read_back(tmp_path):
    details = {"fivo_bound": np.array([-1.0, -2.0]), "resamplings": np.zeros(2)}
    scores = Scores(np.arange(2), np.array([3, 4]), np.zeros(2), np.zeros(2), 5, details)
    write_scores(tmp_path / "evaluation-1.npz", scores)
    read = read_scores(tmp_path / "evaluation-1.npz")
    assert read.filtered.tolist() == [-1.0, -2.0]
    figures = {"num_sequences": 2, "elbo": 0.0, "iw_bound": 0.0}
    assert read.are_of({**figures, "fivo_bound": -1.5})
    assert not read.are_of({**figures, "fivo_bound": -1.0})
    assert not read.are_of({**figures, "fivo_bound": None})
    assert read.are_of(figures)


def damaged_scores():
    good = Scores(np.arange(2), np.array([3, 4]), np.zeros(2), np.zeros(2), 5)
    yield good, replace(good, indices=np.array([1, 1]))
    yield good, replace(good, indices=np.array([0, 5]))
    yield good, replace(good, elbo=np.zeros(3))
    yield good, replace(good, lengths=np.zeros(2))
    yield good, replace(good, details={"fivo_bound": np.zeros(3)})


@pytest.mark.parametrize(("good", "bad"), list(damaged_scores()))
def test_scores_that_no_test_wrote_are_refused(tmp_path, good, bad):
    path = tmp_path / "evaluation-1.npz"
    write_scores(path, good)
    read = read_scores(path)
    assert all(np.array_equal(getattr(read, name), value) for name, value in vars(good).items())
    write_scores(path, bad)
    with pytest.raises(InputError, match="damaged"):
        read_scores(path)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04" + bytes(50)])
def test_a_file_that_holds_no_scores(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npz: (no \.npz file|cannot be read)"):
        read_scores(tmp_path / "a.npz")


def lines_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_comparison_from_beginning_to_end(made, zf, tmp_path):
    plain, again, rnn = made
    output = tmp_path / "out"
    status, printed, error = zf("compare", plain, rnn, again, "--output", output)
    assert status == 0, error
    assert "Testing" not in printed
    assert sorted(path.name for path in output.iterdir()) == [
        *("comparison-runs.csv", "comparison.csv", "comparison.md", "comparison.png")
    ]
    zforcing, other = lines_of(output / "comparison.csv")
    assert zforcing["name"] == "family=zforcing, alpha=0.0005, beta=0.0005"
    assert zforcing["seeds"] == "0 1"
    scores = [read_scores(folder / "evaluation-3.npz").iw_bound for folder in (plain, again, rnn)]
    gaps = scores[2] - (scores[0] + scores[1]) / 2
    assert float(other["difference"]) == pytest.approx(gaps.mean())
    assert float(other["difference_se"]) == pytest.approx(gaps.std(ddof=1) / math.sqrt(10))
    assert zforcing["difference"] == other["iw_bound_spread"] == ""
    assert other["active_units"] == "0.0"
    results = json.loads((rnn / "results.json").read_text())
    assert int(other["num_parameters"]) == results["num_parameters"]
    assert float(other["iw_bound_per_step"]) == pytest.approx(results["test"]["iw_bound_per_step"])
    assert [line["seed"] for line in lines_of(output / "comparison-runs.csv")] == ["0", "1", "0"]
    page = (output / "comparison.md").read_text()
    for text in (page, printed):
        assert "10 of 18 test sequences" in text
        assert f"{float(other['difference']):+.3f} +- {float(other['difference_se']):.3f}" in text
    assert (output / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_one_run_is_a_comparison_in_a_numbered_folder(made, zf, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        assert zf("compare", made[0])[0] == 0
        (line,) = lines_of(tmp_path / "runs" / f"comparison-{number}" / "comparison.csv")
        assert line["name"] == "plain"


def test_a_test_that_is_there_is_taken_and_another_is_made(made, zf, tmp_path):
    plain, _, rnn = made
    _, printed, _ = zf("compare", plain, rnn, "--num-particles", 4, "--output", tmp_path / "a")
    assert [line for line in printed.splitlines() if "Testing" in line] == [
        f"Testing {folder} by 4 particles" for folder in (plain, rnn)
    ]
    assert json.loads((rnn / "evaluation-4.json").read_text())["test"]["num_particles"] == 4
    _, printed, _ = zf("compare", plain, rnn, "--num-particles", 4, "--output", tmp_path / "b")
    assert "Testing" not in printed
    assert (tmp_path / "a" / "comparison.csv").read_bytes() == (tmp_path / "b" / "comparison.csv").read_bytes()


def test_a_test_of_other_sequences_is_not_taken(made, zf, tmp_path):
    plain, _, rnn = made
    assert zf("compare", rnn, "--output", tmp_path / "before")[0] == 0
    status, printed, error = zf("compare", plain, rnn, "--eval-sequences", "all", "--output", tmp_path / "all")
    assert status == 0, error
    assert printed.count("Testing") == 2
    assert "all 18 test sequences" in printed
    # The scores by three particles are now of all sequences, and no longer those of results.json.
    _, printed, _ = zf("compare", rnn, "--output", tmp_path / "after")
    assert printed.count("Testing") == 1
    assert lines_of(tmp_path / "before" / "comparison.csv") == lines_of(tmp_path / "after" / "comparison.csv")


def test_another_test_keeps_the_bound_of_a_particle_filter(made, zf, tmp_path):
    plain, _, rnn = made
    assert zf("evaluate", plain, "--particle-filter")[0] == 0
    assert zf("compare", plain, rnn, "--eval-sequences", "all", "--output", tmp_path / "all")[0] == 0
    filtered, other = lines_of(tmp_path / "all" / "comparison.csv")
    assert float(filtered["fivo_bound"]) == pytest.approx(read_scores(plain / "evaluation-3.npz").filtered.mean())
    assert other["fivo_bound"] == ""


def test_a_run_from_before_there_were_scores_is_tested_again(made, zf, tmp_path):
    folder = made[0]
    assert zf("compare", folder, "--output", tmp_path / "a")[0] == 0
    results = json.loads((folder / "results.json").read_text())
    del results["measure"], results["test"]["active_units"]
    (folder / "results.json").write_text(json.dumps(results))
    for name in ("evaluation-3.npz", "timing.json"):
        (folder / name).unlink()
    status, printed, error = zf("compare", folder, "--output", tmp_path / "b")
    assert status == 0, error
    assert printed.count("Testing") == 1
    before, after = (lines_of(tmp_path / name / "comparison.csv")[0] for name in "ab")
    assert after.pop("seconds_per_step") == ""
    assert float(before.pop("seconds_per_step")) > 0
    assert after == before


def test_damaged_scores_are_made_again(made, zf, tmp_path):
    (made[0] / "evaluation-3.npz").write_bytes(b"nothing")
    status, printed, error = zf("compare", made[0], "--output", tmp_path / "a")
    assert status == 0, error
    assert printed.count("Testing") == 1


def test_a_comparison_is_not_overwritten_unasked(made, zf, tmp_path):
    folder, output = made[0], tmp_path / "out"
    assert zf("compare", folder, "--output", output)[0] == 0
    before = {path: path.read_bytes() for path in output.iterdir()}
    refused(zf, "--force", folder, "--output", output, "--num-particles", 2)
    assert {path: path.read_bytes() for path in output.iterdir()} == before
    assert zf("compare", folder, "--output", output, "--num-particles", 2, "--force")[0] == 0
    assert lines_of(output / "comparison-runs.csv")[0]["num_particles"] == "2"


def refused(zf, hint, *arguments):
    """The command ends with status 2 and one line that holds the hint."""
    status, _, error = zf("compare", *arguments)
    assert (status, error.count("\n")) == (2, 1), error
    assert hint in error


def change(path, old, new):
    """Replace what a file holds once."""
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_what_does_not_compare_is_refused_with_the_reason(made, zf, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain, again, rnn = made
    refused(zf, "name finished runs")
    refused(zf, "name finished runs", plain, "--sweep", tmp_path / "a.toml")
    refused(zf, "is no run", plain, tmp_path / "none")
    refused(zf, "are the same run", plain, plain)
    refused(zf, "--eval-sequences takes", plain, "--eval-sequences", "few")
    change(rnn / "results.json", '"probability"', '"density"')
    refused(zf, "of a density, and those", plain, rnn)
    (rnn / "results.json").write_text("{")
    refused(zf, "cannot read", plain, rnn)
    (rnn / "results.json").unlink()
    refused(zf, "is unfinished; go on with", plain, rnn)
    refused(zf, "is a file", plain, "--output", plain / "config.toml")
    fingerprint = runs.read_fingerprint(again)
    change(again / "config.toml", fingerprint, "0" * len(fingerprint))
    refused(zf, "was trained on other data", plain, again)
    assert not (tmp_path / "runs").exists()


def test_other_subsets_are_refused(made, zf, tmp_path, monkeypatch):
    """Where a data set brings its own splits, `split_seed` draws nothing but the subset that is scored."""
    plain, _, rnn = made
    scores = read_scores(rnn / "evaluation-3.npz")

    def evaluate_run(folder, *arguments, **options):
        write_scores(folder / "evaluation-3.npz", replace(scores, indices=np.arange(10)))
        shutil.copy(folder / "results.json", folder / "evaluation-3.json")

    monkeypatch.setattr("zf_pyro.compare.tested.evaluate_run", evaluate_run)
    (rnn / "evaluation-3.npz").unlink()
    refused(zf, "split_seed", plain, rnn, "--output", tmp_path / "out")


def test_times_of_updates_before_an_interruption_count(shelf, run_py, tmp_path, monkeypatch):
    def stop():
        raise KeyboardInterrupt

    folder = tmp_path / "stopped"
    options = [*OPTIONS, "--data", shelf / "bits.npz", "--max-steps", 4, "--set", "validate_every=2"]
    with monkeypatch.context() as patch:
        after_update(patch, 3, stop)
        assert run_py(*options, "--output", folder)[0] == 130
    assert len(read_checkpoint(folder)["durations"]) == 2
    assert run_py("--resume", folder)[0] == 0
    timing = json.loads((folder / "timing.json").read_text())
    assert timing["updates"] == 4 == sum("loss" in line for line in read_metrics(folder))
    assert 0 < timing["seconds_per_step"] < 60
    assert (timing["device"], timing["num_threads"]) == ("cpu", torch.get_num_threads())


def test_the_seconds_of_a_step_are_the_median(tmp_path):
    write_timing(tmp_path, [9.0, 0.5, 0.25], "cpu")
    assert read_timing(tmp_path)["seconds_per_step"] == 0.5
    (tmp_path / "timing.json").write_text("[]")
    assert read_timing(tmp_path) == {}


def test_a_run_that_is_started_over_leaves_no_old_scores(made):
    (made[0] / "evaluation-9.npz").write_bytes(b"old")
    runs.clear(made[0])
    assert [path.name for path in made[0].iterdir()] == ["run.lock"]


def test_the_picture_takes_any_names(tmp_path, monkeypatch):
    monkeypatch.setattr("zf_pyro.compare.picture.read_metrics", lambda folder: iter([{"step": 1}]))
    rows = [Row("cost $5 and $", [outcome(0)]), Row("b", [], [0]), Row("one", [outcome(0), outcome(1)])]
    plot_comparison(rows, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_tables():
    rows = [["run", "x"], ["a|b", "10"], ["c", "1"]]
    assert list(aligned(rows)) == ["run   x", "a|b  10", "c     1"]
    assert list(markdown(rows)) == ["| run | x |", "| --- | ---: |", "| a\\|b | 10 |", "| c | 1 |"]
