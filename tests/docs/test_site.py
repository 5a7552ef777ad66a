"""The site: its generated pages say what the code says, and it is built without a warning, a network or a dead link."""

from __future__ import annotations

import dataclasses
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest

from wovr_core.recipes import RECIPES

DOCS = Path(__file__).parent.parent.parent / "docs"


def from_docs(name: str) -> Iterator[ModuleType]:
    sys.path.insert(0, str(DOCS))
    yield importlib.import_module(name)
    sys.path.remove(str(DOCS))
    del sys.modules[name]


@pytest.fixture(scope="module")
def generate() -> Iterator[ModuleType]:
    yield from from_docs("generate")


@pytest.fixture(scope="module")
def docstrings() -> Iterator[ModuleType]:
    yield from from_docs("docstrings")


def test_every_option_of_every_recipe_has_a_line(generate: ModuleType) -> None:
    from workbench.launching.options import options

    page = generate.options_page()
    for name in RECIPES:
        assert [o.key for o in options(name) if f"| `{o.key}` |" not in page] == []
    [line] = [line for line in page.splitlines() if line.startswith("| `rl.learning_rate` |")]
    assert "`2e-05`" in line


def test_every_command_and_its_options_have_a_line(generate: ModuleType) -> None:
    page = generate.cli_page()
    assert {"## wovr demo", "### wovr jobs submit", "### wovr robot plan"} <= set(page.splitlines())
    assert "| `--recipe RECIPE` |" in page
    assert "--share" not in page  # known to the parser only to be refused in words


def test_tensors_are_those_of_a_real_file(generate: ModuleType) -> None:
    page = generate.tensors_page()
    assert re.search(r"\| `actions` \| `F32` \| `\(16, 7\)` \|", page)
    assert re.search(r"\| `log_probs` \| `F32` \| `\(2, 8, 7\)` \|", page)
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert not [row for row in rows if re.search(r"\|\s*\|$", row)], "each has a meaning"
    assert re.search(r"\| `frames_delta` .*\(T\+1, H, W, 3\).*differences", page)


def test_results_are_said_to_be_missing_where_there_are_none(generate: ModuleType, tmp_path: Path) -> None:
    page = generate.results_page(tmp_path)
    assert "No study has been run yet" in page
    assert "Not run: main, ablations" in page


def test_results_name_files_by_their_paths_where_the_site_has_none(generate: ModuleType) -> None:
    page = generate.results_page(DOCS.parent / "results")
    assert "`results/robot/" in page
    assert not re.search(r"\[[^\]]*\]\((?!https?:)|beside this page", page)


def test_each_check_of_the_doctor_says_what_to_do(generate: ModuleType) -> None:
    from apps import doctor

    page = generate.troubleshooting_page()
    assert all(f"## {name}" in page for name in doctor.CHECKS)
    assert all(len(check.__doc__ or "") > 80 for check in doctor.CHECKS.values())
    examined = [check.name for check in doctor.examine()]
    assert examined == list(doctor.CHECKS)


def test_notebooks_are_listed_by_title(generate: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "03_a.py").write_text(
        "# ---\n# ---\n\n# %% [markdown]\n# # A title\n#\n# First\n# lines.\n#\n# More.\n\n# %%\n1\n"
    )
    page = generate.notebooks_page(tmp_path)
    assert "## 03 A title\n\nFirst\nlines.\n\n`notebooks/03_a.ipynb`" in page


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("`Record`s of *that* kind, a * b", r"``Record``\ s of *that* kind, a \* b"),
        ("a|b and trailing_ but not_within", r"a\|b and trailing\_ but not_within"),
    ],
)
def test_docstrings_become_what_docutils_reads(docstrings: ModuleType, written: str, read: str) -> None:
    lines = [written, "", ":param x: of `y`s"]
    docstrings.tidy(None, "function", "f", None, None, lines)
    assert lines == [read, "", r":param x: of ``y``\ s"]


@dataclasses.dataclass
class Page:
    """What a page links to and what can be linked to on it."""

    links: list[str]
    loads: list[str]
    anchors: set[str]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page([], [], set())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if "id" in found:
            self.page.anchors.add(found["id"])
        if tag == "a" and "href" in found:
            self.page.links.append(found["href"])
        elif tag == "link" and found.get("rel") in ("stylesheet", "icon", "preload", "modulepreload"):
            self.page.loads.append(found["href"])
        elif "src" in found:
            self.page.loads.append(found["src"])


def read_pages(site: Path) -> dict[Path, Page]:
    pages = {}
    for path in site.rglob("*.html"):
        reader = _Reader()
        reader.feed(path.read_text())
        pages[path.resolve()] = reader.page
    return pages


def dead_links(site: Path) -> list[str]:
    """Links to files or anchors that are not there, and whatever would be loaded from elsewhere."""
    pages, dead = read_pages(site), []
    for path, page in pages.items():
        for link in [*page.links, *page.loads]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.loads and parts.scheme != "data":
                    dead.append(f"{path.name} loads {link}")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                dead.append(f"{path.name} -> {link}")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                dead.append(f"{path.name} -> {link} (no such anchor)")
    return dead


def test_dead_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<a href="b.html#x">1</a><a href="b.html#y">2</a><a href="c.html">3</a><script src="https://cdn.example/x.js">'
    )
    (tmp_path / "b.html").write_text('<p id="x">')
    assert dead_links(tmp_path) == [
        "a.html -> b.html#y (no such anchor)",
        "a.html -> c.html",
        "a.html loads https://cdn.example/x.js",
    ]


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_every_link_leads_somewhere(tmp_path: Path) -> None:
    unreachable = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", str(tmp_path / "trees")]
    done = subprocess.run(
        [*command, str(DOCS), str(tmp_path / "site")],
        env=os.environ | unreachable,
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    site = tmp_path / "site"
    assert dead_links(site) == []
    index = (site / "searchindex.js").read_text()
    assert "hallucin" in index
    styles = "".join(path.read_text() for path in (site / "_static").rglob("*.css"))
    assert not re.search(r"url\(['\"]?https?:|@import", styles)
