"""Formulas as MathML, which browsers show by themselves: no script, no picture, nothing from another host.

The converter is docutils' own, which Sphinx brings. TeX's spacing is put in after it: a thin space beside the name of a
function, and none around the signs of an index.
"""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.writers.html5 import HTML5Translator

APPLY = "\N{FUNCTION APPLICATION}"
INDEXED = ("msub", "msup", "msubsup", "munder", "mover", "munderover")
ORDINARY = ("mi", "mn", *INDEXED, "mfrac")
THIN = {"width": "0.1667em"}


def mathml(node: nodes.math | nodes.math_block, *, block: bool) -> str:
    """A formula as one `math` element.

    Raises:
        ExtensionError: the converter does not know a command of it.
    """
    try:
        text = tex2mathml(node.astext(), as_block=block)
    except MathError as error:
        raise ExtensionError(f"{node.source}:{node.line}: {error} in the formula {node.astext()}") from error
    # As HTML has it: without a name space, and without a named character that XML does not know.
    text = text.replace(' xmlns="http://www.w3.org/1998/Math/MathML"', "").replace("&ApplyFunction;", APPLY)
    formula = ElementTree.fromstring(text)
    for element in list(formula.iter()):
        space_functions(element)
        if element.tag in INDEXED:
            close_up(element)
    return ElementTree.tostring(formula, "unicode", short_empty_elements=False)


def space_functions(row: Element) -> None:
    """Thin spaces between the name of a function and what is beside it, but for brackets."""
    parts = list(row)
    for name, applied, argument in zip(parts, parts[1:], parts[2:], strict=False):
        if applied.text != APPLY:
            continue
        before = parts[parts.index(name) - 1] if name is not parts[0] else None
        if argument.tag in ORDINARY:
            row.insert(list(row).index(applied) + 1, Element("mspace", THIN))
        if before is not None and before.tag in ORDINARY:
            row.insert(list(row).index(name), Element("mspace", THIN))


def close_up(indexed: Element) -> None:
    """No space around the signs of its indices."""
    for index in list(indexed)[1:]:
        for sign in index.iter("mo"):
            sign.attrib |= {"lspace": "0", "rspace": "0"}


def inline(translator: HTML5Translator, node: nodes.math) -> None:
    """A formula within a line."""
    translator.body.append(mathml(node, block=False))
    raise nodes.SkipNode


def displayed(translator: HTML5Translator, node: nodes.math_block) -> None:
    """A formula of its own, in a box that scrolls where it is wider than the page."""
    translator.body.append(f'<div class="formula">{mathml(node, block=True)}</div>\n')
    raise nodes.SkipNode


def keep_together(app: Sphinx, doctree: nodes.document) -> None:
    """Put a formula and the signs that touch it on one line: browsers may break a line on either side of a formula."""
    for formula in list(doctree.findall(nodes.math)):
        together = nodes.inline(classes=["together"])
        before, after = formula.previous_sibling(), formula.next_node(descend=False, siblings=True)
        if isinstance(before, nodes.Text) and before.endswith("("):
            replace(before, before[:-1])
            together += nodes.Text("(")
        formula.replace_self(together)
        together += formula
        signs = re.match(r"[^\w\s]*", after).group() if isinstance(after, nodes.Text) else ""
        if signs:
            replace(after, after[len(signs) :])
            together += nodes.Text(signs)


def replace(old: nodes.Text, new: str) -> None:
    """Put another text in the place of this one: docutils' own method takes the first that is equal."""
    siblings = old.parent
    place = next(place for place, each in enumerate(siblings) if each is old)
    siblings[place] = nodes.Text(new)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer as ``html_math_renderer = "mathml"``."""
    app.connect("doctree-read", keep_together)
    app.add_html_math_renderer("mathml", (inline, None), (displayed, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
