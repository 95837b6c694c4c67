"""The documentation as a site: MkDocs builds it without a warning, every link in it has an end, and it loads nothing from elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[1]


BUILD = """
import sys
from mkdocs.commands.build import build
from mkdocs.config import load_config
config = load_config(strict=True, site_dir=sys.argv[1])
config.plugins["material/search"].config.enabled = False
config.mdx_configs["pymdownx.highlight"]["use_pygments"] = False
config.plugins.on_startup(command="build", dirty=False)
build(config)
"""
"""`mkdocs build --strict` without the index for searches and the colours of code, which take a third of its time"""


class Page(HTMLParser):
    """What a page links to, what it loads, and the fragments it has."""

    def __init__(self, path: Path):
        super().__init__()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.fragments: set[str] = {""}
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.fragments |= {found[name] for name in ("id", "name") if found.get(name)}
        if tag == "a" and found.get("href"):
            self.links.add(found["href"])
        elif tag in ("script", "img", "link", "iframe") and (found.get("src") or found.get("href")):
            self.loaded.add(found.get("src") or found["href"])


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[Path, Page]:
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-c", BUILD, str(site)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}  # whose links begin at the server's root


def test_every_link_of_the_site_has_an_end(pages):
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            end = Path(os.path.normpath(path.parent / unquote(parts.path))) if parts.path else path
            fragment = unquote(parts.fragment)
            if not end.is_file() or (end in pages and fragment not in pages[end].fragments):
                broken.append(f"{path.name}: {link}")
    assert not broken, "\n".join(broken)
    assert len(pages) > 50
    assert sum(len(page.links) for page in pages.values()) > 2000


def test_equations_are_set_by_the_browser(pages):
    texts = {path.name: path.read_text() for path in pages if path.parent.name == "algorithms"}
    assert sum("<math" in text for text in texts.values()) > 30
    assert not [name for name, text in texts.items() if "aligned" in text or "merror" in text or "\\_" in text]


def test_a_page_loads_nothing_from_elsewhere(pages):
    loaded = {name for page in pages.values() for name in page.loaded}
    assert loaded
    assert not [name for name in loaded if urlsplit(name).netloc]


def test_the_reference_has_its_signatures(pages):
    (api,) = (page for path, page in pages.items() if path.name == "api.html")
    assert {"deeprl.running.session.api.train", "deeprl.running.session.api.load", "deeprl.running.session.run.Run.act"} <= api.fragments
