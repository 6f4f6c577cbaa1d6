"""The page of a run, without a browser: what is on it, that it is whole, and that nothing from outside is markup."""

import io
import json
import os
import re
import shlex
import shutil
import warnings
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread

from tests.toy_runs import PNG, SMALL, TINY
from zf_pyro import runs
from zf_pyro.data.corpus import Observation
from zf_pyro.fields import override
from zf_pyro.metrics import is_record
from zf_pyro.options import requested
from zf_pyro.presets import preset, read_config
from zf_pyro.report import command as module
from zf_pyro.report.blocks import Block, Code, Folded, Lines, Note, Picture, Player, Section, Sides, Strip, Table
from zf_pyro.report.material import Material
from zf_pyro.report.page import page_of, policy
from zf_pyro.report.results import ELSEWHERE, collapse, listed
from zf_pyro.report.sequences import MOST_STEPS, image_of, players, shown
from zf_pyro.report.settings import command
from zf_pyro.report.training import validations_figure
from zf_pyro.report.usage import stored
from zf_pyro.run_commands import train

NASTY = [
    "<script>alert(1)</script>",
    "\"&'</title><img src=x onerror=alert(1)>",
    "שלום ‮ world",
    "",
    "{{ 7 * 7 }}",
    "\0\x1b",
]


class Page(HTMLParser):
    """The tags of a page with their attributes, the texts, and what is open at the end."""

    VOID = frozenset({"meta", "link", "img", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def every_block(text: str) -> list[Block]:
    """A block of each kind, with a text in every place that takes one."""
    table = Table(text, [text, text], [[text, text]], frozenset({0}), frozenset({1}))
    found = [Note(text), Note(text, warns=True), table, Lines(text, [text]), Picture(text, text, PNG), Code(text)]
    found += [Strip(text, [text], [PNG]), Player(text, b"RIFF")]
    return [*found, Sides([text], [found]), Folded(text, found)]


def page_with(text: str) -> Page:
    return Page(page_of(text, [text], [Section("results", text, every_block(text))], text))


@pytest.mark.parametrize("text", NASTY)
def test_no_text_is_markup(text):
    plain, page = page_with("plain"), page_with(text)
    assert [tag for tag, _ in page.tags if tag != "em"] == [tag for tag, _ in plain.tags]
    assert page.open == []
    assert page.texts.count(text) == plain.texts.count("plain") or not text.strip("\0\x1b")
    assert not page.named("script")


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=40))
def test_any_text_stays_text(text):
    page = page_with(text)
    assert [tag for tag, _ in page.tags if tag != "em"] == [tag for tag, _ in page_with("plain").tags]


def test_the_page_may_load_nothing():
    page = page_with("plain")
    (policy,) = [each["content"] for each in page.named("meta") if each.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:; media-src data:; style-src 'sha256-")
    addresses = [
        each.get(name) for _, each in page.tags for name in ("src", "srcset", "href", "action") if name in each
    ]
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert not [name for _, each in page.tags for name in each if name.startswith("on") or name == "style"]


@pytest.fixture
def page_of_run(no_ink, finished, zf):
    """The report of a finished run on text."""
    status, out, error = zf("report", finished)
    assert status == 0, error
    assert out.endswith(f"Report: {finished / 'report.html'}\n")
    return (finished / "report.html").read_text(encoding="utf-8")


def test_a_report_holds_what_the_run_has(page_of_run, finished):
    page = Page(page_of_run)
    text = " ".join(page.texts)
    ids = [each["id"] for each in page.named("section") if "id" in each]
    assert [each["href"] for each in page.named("a")] == [f"#{name}" for name in ids]
    assert {"results", "training", "latents", "bound", "samples", "reconstructions", "interpolations"} < {*ids}
    assert len(page.named("h1")) == 1
    assert len(page.named("h2")) == len(ids)
    assert len(page.named("caption")) == len(page.named("table"))
    assert all(each["alt"] for each in page.named("img"))
    assert {each["class"] for each in page.named("img")} == {"picture"}
    results = json.loads((finished / "results.json").read_text())
    assert f"{results['test']['iw_bound']:,.3f}" in text
    assert f"{results['test']['perplexity']:,.2f}" in text
    for sentence in (finished / "samples.txt").read_text(encoding="utf-8").splitlines():
        assert not sentence or sentence in page.texts
    for name in ("hidden_size", "learning_rate", "torch", "seed"):
        assert name in page.texts


def test_every_figure_of_a_test_is_listed(finished):
    test = json.loads((finished / "results.json").read_text())["test"]
    assert {*listed({**test, "another": 1.0})} | (ELSEWHERE & {*test}) == {*test, "another"}


def test_the_command_on_the_page_makes_the_same_configuration(finished):
    config = read_config(finished / "config.toml")
    options = train.make_context("command", shlex.split(command(config))[2:]).params
    assert (
        override(preset(options["dataset"], options["preset_name"]), {**requested(options), "device": "cpu"}) == config
    )


@pytest.mark.parametrize(("dataset", "source"), [("digits", "scikit-learn"), ("imdb", "samples"), ("imdb", "archive")])
def test_the_command_names_no_data_that_is_no_file(dataset, source):
    assert "--data " not in command(replace(preset(dataset, "quick"), source=source))


def test_the_data_may_be_gone(no_ink, finished, reviews, zf, tmp_path):
    reviews.rename(tmp_path / "elsewhere.txt")
    status, _, error = zf("report", finished)
    assert status == 0, error
    text = (finished / "report.html").read_text(encoding="utf-8")
    assert text.count("Not shown: the data of the run is not at hand") == 4  # KL, and what is decoded
    assert zf("report", finished, "--data", tmp_path / "elsewhere.txt")[0] == 0
    assert "Not shown" not in (finished / "report.html").read_text(encoding="utf-8")


def test_a_family_without_latent_variable_is_said_to_be_one(no_ink, run_py, zf, reviews, tmp_path):
    folder = tmp_path / "rnn"
    options = ("--dataset", "imdb", "--data", reviews, *SMALL, "--family", "rnn", "--max-steps", 2, "--output", folder)
    status, out, error = run_py(*options, report=True)
    assert status == 0, error
    assert out.endswith(f"Report: {folder / 'report.html'}\n")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("The family rnn has no latent variable.") == 4
    assert "collapsed" not in page


def test_runs_side_by_side(no_ink, finished, zf, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other"
    shutil.copytree(finished, other)
    config = (other / "config.toml").read_text().replace("alpha = 0.005", "alpha = 0.25")
    (other / "config.toml").write_text(config)
    table = json.loads((other / "results.json").read_text())
    table["test"]["num_particles"] = 7
    (other / "results.json").write_text(json.dumps(table))
    status, out, error = zf("report", finished, other)
    assert status == 0, error
    assert out.endswith("Report: runs/report-1.html\n")
    page = Page((tmp_path / "runs" / "report-1.html").read_text(encoding="utf-8"))
    text = " ".join(page.texts)
    assert "They were tested by different numbers of particles" in text
    assert "They were trained on different data" not in text
    assert text.count("alpha") == text.count("alpha = beta = 0") + 1  # one row of the fields that differ
    assert "0.25" in page.texts
    assert zf("report", finished, other)[1].endswith("Report: runs/report-2.html\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "run"], "named twice"),
        (["run", "--output", "taken.html"], "is there already"),
        (["nothing"], "nothing is no run"),
        (["run", "other", "--data", "x"], "--data is of a single run"),
        (["run", "--data", "nowhere"], "nowhere"),
        (["unfinished"], "is unfinished"),
    ],
)
def test_wrong_input_is_one_line(arguments, said, finished, zf, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.html").write_text("mine")
    shutil.copytree(finished, tmp_path / "unfinished")
    (tmp_path / "unfinished" / "results.json").unlink()
    status, _, error = zf("report", *arguments)
    assert status == 2
    assert said in error
    assert error.count("\n") == 1
    assert (tmp_path / "taken.html").read_text() == "mine"
    assert not (finished / "report.html").exists()


def test_a_failing_report_leaves_the_run_finished(run_py, reviews, tmp_path, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no ink\nat all")

    monkeypatch.setattr(module, "write_page", fail)
    folder = tmp_path / "run"
    options = ("--dataset", "imdb", "--data", reviews, "--max-steps", 2, "--output", folder, *TINY[:4], *SMALL)
    status, _, error = run_py(*options, report=True)
    assert status == 0
    assert error.splitlines()[-1].startswith("warning: no report: RuntimeError: no ink. The run is finished; ")
    assert (folder / runs.RESULTS).is_file()
    assert not (folder / runs.REPORT).exists()


def test_an_interrupted_report_leaves_the_run_finished(run_py, reviews, tmp_path, monkeypatch):
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_page", stop)
    folder = tmp_path / "run"
    options = ("--dataset", "imdb", "--data", reviews, "--max-steps", 2, "--output", folder, *SMALL)
    status, _, error = run_py(*options, report=True)
    assert status == 130
    assert f"the run is finished; its report by: zf-pyro report {folder}" in error
    assert (folder / runs.RESULTS).is_file()


def test_a_resumed_run_takes_no_report_as_its_only_option(finished, run_py):
    assert "is finished" in run_py("--resume", finished)[2]
    assert "takes no other option but --trust, --no-report, -v and -q" in run_py("--resume", finished, "--seed", 1)[2]


def test_a_run_that_is_overwritten_loses_its_report(page_of_run, finished, reviews, run_py):
    options = ("--dataset", "imdb", "--data", reviews, "--max-steps", 2, "--output", finished, "--force", *SMALL)
    assert run_py(*options)[0] == 0
    assert not (finished / runs.REPORT).exists()


@pytest.mark.parametrize(
    ("kl", "active", "steps", "said"),
    [
        (0.9, 0, 10, "collapsed"),
        (0.9, None, 10, "collapsed"),
        (0.9, 1, 10, "collapsed"),
        (1.1, None, 10, ""),
        (1.1, 0, 10, "thinly"),
        (1.1, 0, 1000, "collapsed"),
        (5.0, 3, 10, ""),
        (None, None, 10, ""),
    ],
)
def test_a_collapsed_posterior_is_said_plainly(kl, active, steps, said):
    test = {"kl": kl, "active_units": active, "num_sequences": 10, "num_steps": 10 * steps}
    told = collapse(test, "token", "sentence", 32)
    assert said in told
    assert bool(told) == bool(said)
    assert not told or f"{kl:.3f} nats per sentence" in told


def test_damaged_files_are_said_in_a_line(no_ink, finished, zf):
    (finished / "metrics.jsonl").write_text("no json\n")
    (finished / "evaluation-9.json").write_text("[]")
    (finished / "latents.json").write_text('{"latents": 3}')
    (finished / "samples.txt").unlink()
    status, _, error = zf("report", finished)
    assert status == 0, error
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert page.count("Not shown:") == 2


def test_a_page_on_bits_and_numbers(run_py, tmp_path):
    """Arrays, which are no text, images, music or speech."""
    data = tmp_path / "mine.npz"
    values = np.random.default_rng(0).normal(size=(40, 12, 3))
    np.savez(data, **{f"a{i}": each for i, each in enumerate(values)})
    folder = tmp_path / "run"
    status, _, error = run_py("--dataset", "arrays", "--data", data, "--output", folder, *TINY, report=True)
    assert status == 0, error
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Not shown" not in page
    assert not re.search(r"<audio", page)


def test_every_kind_of_block_is_on_the_page():
    html = page_of("plain", [], [Section("results", "plain", every_block("plain"))], "plain")
    for part in ('class="warning"', "<table", 'class="lines"', 'class="picture"', 'class="strip"', "<audio", "<pre"):
        assert part in html
    assert "<details>" in html
    assert 'class="sides"' in html


def change(path, **fields):
    """Set figures of the test in a file of results; None deletes one."""
    table = json.loads(path.read_text())
    for name, value in fields.items():
        table["test"].pop(name, None)
        if value is not Ellipsis:
            table["test"][name] = value
    path.write_text(json.dumps(table))


def test_results_of_an_older_version_are_shown(no_ink, finished, zf):
    table = json.loads((finished / "results.json").read_text())
    del table["measure"]
    (finished / "results.json").write_text(json.dumps(table))
    names = ("curve", "effective_sample_size", "active_units", "iw_bound_bootstrap_se", "iw_bound_per_step_se")
    change(finished / "results.json", **dict.fromkeys(names, ...))
    observation = json.loads((finished / "observation.json").read_text())
    del observation["steps_per_beat"]
    (finished / "observation.json").write_text(json.dumps(observation))
    (finished / "evaluation-5.npz").unlink()
    (finished / "timing.json").unlink()
    status, _, error = zf("report", finished)
    assert status == 0, error
    text = (finished / "report.html").read_text(encoding="utf-8")
    assert "Bounds on the log-probability by K" in text
    assert "known by one number of particles only" in text


def test_figures_that_are_not_finite_are_a_dash(finished, zf):
    test = json.loads((finished / "results.json").read_text())["test"]
    numbers = {name: None for name, value in test.items() if isinstance(value, float)}
    change(finished / "results.json", **numbers, curve=dict.fromkeys(test["curve"]), active_units=None)
    records = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    kept = {"step", "length", "valid_length", "valid_particles"}
    gone = [{name: value if name in kept else None for name, value in line.items()} for line in records]
    (finished / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in gone))
    status, _, error = zf("report", finished)
    assert status == 0, error
    assert "IW bound by number of particles: 1: -, 5: -." in (finished / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["num_particles", "elbo", "num_steps"])
def test_results_without_a_figure_are_damaged(name, finished, zf):
    change(finished / "results.json", **{name: ...})
    status, _, error = zf("report", finished)
    assert status == 2
    assert "results.json is damaged" in error
    assert error.count("\n") == 1


def test_a_family_without_latent_variable_has_an_exact_likelihood(no_ink, run_py, reviews, tmp_path):
    folder = tmp_path / "rnn"
    options = ("--dataset", "imdb", "--data", reviews, *SMALL, "--family", "rnn", "--max-steps", 2, "--output", folder)
    assert run_py(*options, report=True)[0] == 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("every bound is the log-likelihood itself") == 2
    assert "whether the bound is tight" not in page.lower()


def test_names_that_are_no_utf8_are_spelled_out(no_ink, finished, zf, tmp_path):
    copies = [tmp_path / os.fsdecode(name) / "run" for name in (b"a\xff", b"b\xff")]
    for copy in copies:
        shutil.copytree(finished, copy)
    status, _, error = zf("report", *copies, "--output", tmp_path / "both.html")
    assert status == 0, error
    assert "a\\udcff/run" in (tmp_path / "both.html").read_text(encoding="utf-8")


def test_figures_of_other_units_are_rows_of_their_own(no_ink, finished, zf, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(finished, other)
    table = json.loads((other / "results.json").read_text())
    table["sequence"] = "image"
    (other / "results.json").write_text(json.dumps(table))
    (other / "evaluation-5.npz").unlink()
    assert zf("report", finished, other, "--output", tmp_path / "both.html")[0] == 0
    page = (tmp_path / "both.html").read_text(encoding="utf-8")
    rows = [re.findall(r"<t[hd][^>]*>([^<]*)", row) for row in re.findall(r"<tr[^>]*>(.*?)</tr>", page)]
    by_name = {row[0]: row[1:] for row in rows}
    bounds = by_name["IW bound (nats per sentence)"], by_name["IW bound (nats per image)"]
    assert bounds[0][1] == bounds[1][0] == "-"
    assert bounds[0][0] == bounds[1][1] != "-"
    assert "tested on different sequences" not in page  # the places of one test are not known


def test_runs_on_as_many_but_other_sequences_are_said_to_differ(no_ink, finished, zf, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(finished, other)
    with np.load(other / "evaluation-5.npz") as file:
        arrays = dict(file)
    arrays["indices"] = np.where(arrays["indices"] == arrays["indices"].max(), arrays["split_size"], arrays["indices"])
    arrays["split_size"] += 1
    np.savez(other / "evaluation-5.npz", **arrays)
    assert zf("report", finished, other, "--output", tmp_path / "both.html")[0] == 0
    assert "tested on different sequences" in (tmp_path / "both.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("found", [{"kl_by_unit": ["a"]}, {"kl_by_step": [1.0]}, {"kl_by_step": 3}])
def test_damaged_latents_are_measured_anew(found, tmp_path):
    whole = {"kl_by_step": [0.5, None], "sequences_by_step": [3, 1], "kl_by_unit": None, "num_sequences": 3}
    for table, known in ((whole, True), ({**whole, **found}, False)):
        (tmp_path / "latents.json").write_text(json.dumps({"latents": table}))
        assert (stored(tmp_path) is not None) == known


def test_many_runs_leave_room_for_the_curves():

    class Run(NamedTuple):
        name: str
        folder: Path
        metrics: list

    lines = [{"step": i, "valid_iw_bound": -1.0 * i, "valid_kl": 1.0, "valid_length": 1.0} for i in (1, 2)]
    materials = [Run(f"run {i}", Path(f"run {i}"), lines) for i in range(60)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = validations_figure(materials, "step")
        figure.draw_without_rendering()
    heights = [axes.get_window_extent().height / figure.dpi for axes in figure.axes]
    assert min(heights) > 1.5


def test_what_is_cut_is_said():
    sequences = [np.zeros((length, 2)) for length in (MOST_STEPS, MOST_STEPS + 1)]
    for count, said in ((1, "numbers"), (2, f"numbers; of longer ones the first {MOST_STEPS} steps")):
        (picture,) = shown(sequences[:count], ["a", "b"][:count], Observation("gaussian", 2), "numbers")
        assert picture.caption == said


@pytest.mark.parametrize(
    ("line", "whole"),
    [
        ({"step": 1, "elbo": None, "length": 2.0}, True),
        ({"step": 1, "valid_elbo": -1.0, "valid_length": 2.0}, True),
        ({"step": 1}, True),
        (3, False),
        ({"elbo": 1.0, "length": 2.0}, False),
        ({"step": 1, "elbo": -1.0}, False),
        ({"step": 1, "valid_kl": 1.0, "length": 2.0}, False),
    ],
)
def test_metrics_are_of_updates(line, whole):
    assert is_record(line) == whole


def test_a_sound_is_cut_and_says_so():
    speech = Observation("gaussian", 200, step="frame", rate=16_000, mean=(0.0,), std=(1.0,))
    for frames, seconds in ((480, 6.0), (481, 6.0), (8, 0.1)):
        (player,) = players([np.ones((frames, 200))], ["a"], speech)
        assert (len(player.wav) - 44) / 2 / 16_000 == pytest.approx(seconds)
        assert player.caption == ("a, the first 6 seconds" if frames > 480 else "a")


def test_a_one_is_a_black_pixel():
    image = imread(io.BytesIO(image_of(np.array([[1], [0]]), 1)))
    assert image[0, 0, :3].tolist() == [0, 0, 0]
    assert image[0, 1, :3].tolist() == [1, 1, 1]


def test_the_main_test_is_of_the_most_sequences_then_by_the_most_particles():
    material = Material.__new__(Material)
    tests = [{"num_sequences": n, "num_particles": k} for n, k in ((10, 5), (10, 50), (3, 9000))]
    material.__dict__["evaluations"] = [{"test": test} for test in tests]
    assert material.main["test"] == tests[1]
    assert material.tightest["test"] == tests[2]


def test_the_policy_allows_no_form():
    assert policy("").endswith("base-uri 'none'; form-action 'none'")
