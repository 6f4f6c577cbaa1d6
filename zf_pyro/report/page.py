"""A report as one page of HTML that needs nothing else: pictures and sounds are in it, and it may load nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from zf_pyro.report.blocks import Section, as_uri


def page_of(title: str, lead: Sequence[str], sections: Sequence[Section], made: str) -> str:
    """The page.

    Every text is escaped. The page's own policy lets a browser load nothing but what is in the page, and run no script.

    Args:
        title: of the page, and its first heading.
        lead: what is said at once, a paragraph each.
        sections: in their order.
        made: by what the page was made, for its foot.
    """
    style = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    # Of the package's own, without a character that HTML would have escaped: the policy names its very bytes.
    css = Markup(style)
    return template().render(title=title, lead=lead, sections=sections, made=made, style=css, policy=policy(style))


@cache
def template() -> Template:
    """The page without its contents; it escapes what it is given."""
    environment = Environment(
        loader=PackageLoader("zf_pyro.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["uri"] = as_uri
    return environment.get_template("page.html")


def policy(style: str) -> str:
    """The Content-Security-Policy of a page with this style sheet."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    allowed = {"default-src": "'none'", "img-src": "data:", "media-src": "data:", "style-src": f"'sha256-{digest}'"}
    return "; ".join(
        f"{name} {value}" for name, value in {**allowed, "base-uri": "'none'", "form-action": "'none'"}.items()
    )
