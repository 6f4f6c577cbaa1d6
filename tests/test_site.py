"""The site that Sphinx makes of docs/ has every public name, and is complete in itself."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest

import zf_pyro
from tests.blocks import PAGES, ROOT

WIDTHS = (390, 1280)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site; skips where the extra docs is not installed."""
    pytest.importorskip("furo")
    pytest.importorskip("myst_parser")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", str(ROOT / "docs"), str(folder)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return folder


def test_the_reference_has_every_public_name():
    pages = "".join(page.read_text(encoding="utf-8") for name, page in PAGES.items() if "reference/" in name)
    documented = set(re.findall(r"^\.\. auto(?:class|function|exception):: zf_pyro\.(\w+)$", pages, re.MULTILINE))
    assert documented == set(zf_pyro.__all__)


def test_tests_that_pages_name_are_there():
    for name, page in PAGES.items():
        for test in re.findall(r"`(?:tests/)?(test_\w+\.py)", page.read_text(encoding="utf-8")):
            assert (ROOT / "tests" / test).exists(), f"{name}: {test}"


def test_formulas_are_such_as_github_shows_too():
    for name, page in PAGES.items():
        assert "\\operatorname" not in page.read_text(encoding="utf-8"), f"{name}: GitHub refuses it; \\mathrm is shown"


class Resources(HTMLParser):
    """What a browser loads for a page: of all addresses those that are no links to be followed."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        held = dict(attributes)
        if tag not in ("a", "area", "math"):
            self.found += [held[name] for name in ("src", "href", "srcset", "data", "poster", "action") if name in held]
        self.found += re.findall(r"url\(([^)]+)\)", held.get("style") or "")


@pytest.mark.slow
def test_no_page_names_anything_of_another_host(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(PAGES) / 2
    for page in pages:
        parser = Resources()
        parser.feed(page.read_text(encoding="utf-8"))
        assert parser.found
        foreign = [each for each in parser.found if urlsplit(each).netloc or each.startswith("//")]
        assert not foreign, f"{page.name}: {foreign}"
    for sheet in site.rglob("*.css"):
        named = re.findall(r"url\(([^)]+)\)|@import\s+([^;]+)", sheet.read_text(encoding="utf-8"))
        foreign = [each for pair in named for each in pair if re.match(r"[\"']?(?:https?:)?//", each)]
        assert not foreign, f"{sheet.name}: {foreign}"


@pytest.mark.slow
def test_formulas_are_mathml_and_none_is_left_as_tex(site):
    for page in ("math.html", "model.html", "index.html", "tutorials/text.html"):
        text = (site / page).read_text(encoding="utf-8")
        assert "<math" in text
        assert not re.search(r"\\(?:frac|sum|prod|mathrm|mid)\b", text), page


@pytest.mark.slow
def test_signs_beside_formulas_are_kept(site):
    """Of two formulas in a paragraph that the same sign follows each has its own."""
    text = re.sub(r"<math>.*?</math>", "M", (site / "model.html").read_text(encoding="utf-8"), flags=re.DOTALL)
    words = " ".join(re.sub(r"<[^>]+>", "", text).split())
    assert "are in Changing a part. M reaches M only through M. M has not seen M, so the prior" in words


def visit(browser, page, width, scheme):
    """What a reader's browser does on a page: complaints, requests that would leave the disk, and how wide it gets."""
    tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    complaints, foreign = [], []

    def decide(route):
        if urlsplit(route.request.url).scheme in ("file", "data"):
            route.continue_()
        else:
            foreign.append(route.request.url)
            route.abort()

    tab.route("**/*", decide)
    tab.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("requestfailed", lambda request: complaints.append(request.url))
    tab.goto(page.as_uri())
    found = tab.evaluate(
        """() => ({
            widest: document.documentElement.scrollWidth,
            ground: getComputedStyle(document.body).backgroundColor,
            formulas: [...document.querySelectorAll('math')].map(each => each.getBoundingClientRect().height),
            images: [...document.images].map(image => image.naturalWidth),
        })"""
    )
    tab.close()
    return {**found, "complaints": complaints, "foreign": foreign}


@pytest.mark.browser
@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_in_a_browser(width, browser, site):
    for page in sorted(site.rglob("*.html")):
        found = visit(browser, page, width, "light")
        assert (found["complaints"], found["foreign"]) == ([], []), page.name
        assert found["widest"] <= width, page.name
        assert all(height > 0 for height in found["formulas"]), page.name
        assert all(found["images"]), page.name


@pytest.mark.browser
def test_the_start_page_follows_the_browsers_scheme(browser, site):
    light, dark = (visit(browser, site / "index.html", 390, scheme) for scheme in ("light", "dark"))
    assert light["ground"] != dark["ground"]
    assert light["formulas"]


@pytest.mark.browser
def test_the_search_finds_a_page(browser, site):
    tab = browser.new_page()
    tab.goto((site / "search.html").as_uri() + "?q=resampling")
    assert tab.wait_for_selector('#search-results a[href*="math.html"]')  # results come one by one
    tab.close()
