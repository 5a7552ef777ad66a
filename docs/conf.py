"""The documentation site: `make docs`, or `sphinx-build -W --keep-going docs docs/_build`. It needs no network."""

import logging
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import docstrings  # noqa: E402
import generate  # noqa: E402

import wovr_core  # noqa: E402

# robosuite advises users of its own to set up macros; whoever builds this site needs none.
logging.getLogger("robosuite_logs").addFilter(lambda record: record.levelno >= logging.ERROR)

project = "WoVR Workbench"
author = "The WoVR Workbench contributors"
copyright = author
version = release = wovr_core.__version__
language = "en"
smartquotes = False  # "--set" is an option, not a dash

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "README.md"]
root_doc = "index"

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist", "attrs_inline"]
myst_heading_anchors = 4
myst_links_external_new_tab = True

html_theme = "furo"
html_title = "WoVR Workbench"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": {
        "font-stack": "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif",
        "font-stack--monospace": "ui-monospace, 'DejaVu Sans Mono', monospace",
    },
}
pygments_style = "friendly"
pygments_dark_style = "github-dark"
copybutton_exclude = ".linenos, .gp, .go"

# Docstrings are prose with code in single backticks; `docstrings.tidy` reads their sections.
default_role = "code"
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_type_aliases = {name: name for name in ("Frames", "FloatArray", "StateArray", "BoolArray", "IntArray", "Array")}
autodoc_preserve_defaults = True
autodoc_class_signature = "separated"
toc_object_entries = False
suppress_warnings = ["config.cache"]


def setup(app):  # type: ignore[no-untyped-def]
    """Write the generated pages first; tidy docstrings into what docutils reads."""
    app.connect("builder-inited", lambda _: generate.write_all(HERE / "generated"))
    app.connect("autodoc-process-docstring", docstrings.tidy)
    app.connect("autodoc-skip-member", docstrings.skip_member)
