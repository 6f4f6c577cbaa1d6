"""Reports in Chromium, opened from the disk: nothing is amiss, loaded or too wide, and sounds can be played."""

import json

import numpy as np
import pytest

from tests.shared import shared_file
from tests.sounds import recordings
from tests.toy_runs import TINY, toy_documents

pytestmark = pytest.mark.browser

WIDTHS = (360, 1200)


def look_at(browser, path, width, scheme):
    """What a reader sees at a width and in a scheme: complaints, requests, and what scripts outside the page find."""
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    complaints, requests = [], []
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(request.url[:100]))
    page.on("request", lambda request: requests.append(request.url) if not request.url.startswith("data:") else None)
    page.goto(path.as_uri())
    page.wait_for_function("[...document.images].every(image => image.complete)")
    page.wait_for_function(
        "[...document.querySelectorAll('audio')].every(sound => sound.readyState >= 1 || sound.error)"
    )
    found = page.evaluate(
        """() => ({
            widest: document.documentElement.scrollWidth,
            images: [...document.images].map(image => image.naturalWidth),
            sounds: [...document.querySelectorAll('audio')].map(sound => sound.error ? 0 : sound.duration),
            headings: [...document.querySelectorAll('h2')].map(heading => heading.textContent),
            ground: getComputedStyle(document.body).backgroundColor,
            ink: getComputedStyle(document.body).color,
            filters: [...document.querySelectorAll('.picture')].map(image => getComputedStyle(image).filter),
        })"""
    )
    page.close()
    return {**found, "complaints": complaints, "requests": requests}


def check_report(browser, path, *, sounds):
    """Look at a report at every width in both schemes; `sounds`: whether there are players."""
    seen = {(w, scheme): look_at(browser, path, w, scheme) for w in WIDTHS for scheme in ("light", "dark")}
    for (width, _), found in seen.items():
        assert found["complaints"] == []
        assert found["requests"] == [path.as_uri()]
        assert found["widest"] <= width
        assert found["images"]
        assert min(found["images"]) > 0
        assert bool(found["sounds"]) == sounds
        assert all(duration > 0 for duration in found["sounds"])
        assert {"Results", "Training", "Samples", "Configuration"} <= {*found["headings"]}
    light, dark = seen[360, "light"], seen[360, "dark"]
    assert light["ground"] != dark["ground"]
    assert light["ink"] != dark["ink"]
    assert {*light["filters"]} == {"none"}
    assert "none" not in dark["filters"]


def text_of(folder):
    path = folder / "reviews.txt"
    path.write_text(
        "\n".join([*toy_documents(60), "<script>alert(1)</script> & \"they\" 'say' שלום again ."]), encoding="utf-8"
    )
    return "imdb", path


def digits_of(folder):
    pytest.importorskip("sklearn")
    return "digits", None


def music_of(folder):
    """Pieces of single notes."""
    source = np.random.default_rng(0)
    pieces = [[[int(note)] for note in source.integers(40, 80, 30)] for _ in range(12)]
    path = folder / "music.json"
    path.write_text(json.dumps({"train": pieces[:6], "valid": pieces[6:9], "test": pieces[9:]}))
    return "jsb", path


def speech_of(folder):
    recordings(folder / "speech")
    return "audio", folder / "speech"


KINDS = {"text": text_of, "images": digits_of, "music": music_of, "speech": speech_of}


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_of_each_kind_of_data(kind, browser, run_py, zf, tmp_path):
    dataset, data = KINDS[kind](tmp_path)
    where = ["--data", data] if data else []
    folder = tmp_path / "run"
    status, _, error = run_py("--dataset", dataset, *where, *TINY, "--output", folder, report=True)
    assert status == 0, error
    check_report(browser, folder / "report.html", sounds=kind in ("music", "speech"))
    if kind == "text":
        other = tmp_path / "<b>other & more"
        assert run_py("--dataset", dataset, *where, *TINY, "--seed", 1, "--output", other)[0] == 0
        assert zf("report", folder, other, "--output", tmp_path / "both.html")[0] == 0
        check_report(browser, tmp_path / "both.html", sounds=False)


@pytest.mark.parametrize(
    ("dataset", "name"),
    [("jsb", "music/jsb_raw_batchsize16_seqlen100.npz"), ("timit", "timit_nltk"), ("mnist", "mnist")],
)
def test_a_report_of_real_data(dataset, name, browser, run_py, tmp_path):
    folder = tmp_path / "run"
    options = ("--dataset", dataset, "--data", shared_file(name), *TINY, "--output", folder)
    status, _, error = run_py(*options, report=True)
    assert status == 0, error
    check_report(browser, folder / "report.html", sounds=dataset != "mnist")
