"""The site: ``sphinx-build -W docs docs/_build``. Nothing on it is fetched from another host (tests/test_site.py)."""

import sys
from pathlib import Path

from zf_pyro import __version__

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "zf_pyro"
release = version = __version__
copyright = "2026, the zf_pyro authors, MIT licence"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "mathml", "docstrings"]
exclude_patterns = ["_build"]

highlight_language = "none"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
html_math_renderer = "mathml"

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 90
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
# A name in single backquotes is a reference where the reference has it, and code elsewhere.
default_role = "py:obj"

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = f"zf_pyro {__version__}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
