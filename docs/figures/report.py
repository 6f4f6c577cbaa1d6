"""Draw report.png beside this file: three places of a run's page, side by side, as a browser shows them.

    zf-pyro compare --sweep experiments/jsb.toml --data jsb_raw_batchsize16_seqlen100.npz
    zf-pyro report runs/jsb/zforcing-0
    python docs/figures/report.py runs/jsb/zforcing-0/report.html

It needs the extra `browser`, and a Chromium of the system's on the path.
"""

import io
import shutil
import sys
from pathlib import Path

from matplotlib.image import imread, imsave
from numpy import concatenate
from playwright.sync_api import sync_playwright

SIZE = {"width": 700, "height": 860}
MARGIN, SCALE = 14, 0.8
PLACES = ("Training", "Reconstructions")
"""The headings that stand at the top of a part, after the page's own."""


def draw(report: Path, path: Path) -> None:
    """Write the picture of a report."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, device_scale_factor=SCALE, color_scheme="light")
        page.goto(report.resolve().as_uri())
        headings = [page.locator("h1"), *(page.get_by_role("heading", name=name, exact=True) for name in PLACES)]
        boxes = [heading.bounding_box() for heading in headings]
        clips = [{"x": 0, "y": max(0, box["y"] - MARGIN), **SIZE} for box in boxes if box]
        parts = [imread(io.BytesIO(page.screenshot(full_page=True, clip=clip)))[..., :3] for clip in clips]
        browser.close()
    imsave(path, concatenate(parts, axis=1), pil_kwargs={"optimize": True})


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(__file__).with_suffix(".png"))
