"""Hook of MkDocs: pages link by paths of the repository, as GitHub shows them, and the site has a page or a file for whatever they link to.

README.md is the home page. A linked Python or YAML file becomes a page of code, any other file is copied.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Pages outside docs/: path in the repository -> path in the site."""
LINK = re.compile(r"(?<=\]\()(?!\w+:)[^)\s#]+(?=[)#])")
PAGE_OF_CODE = "---\nsearch: {{exclude: true}}\n---\n\n# {path}\n\n``````{language}\n{code}``````\n"


def on_files(files, config):
    """Add the pages outside docs/ and everything that a page links to."""
    for path, place in PAGES.items():
        files.append(File.generated(config, place, content=(ROOT / path).read_text()))
    for page in files.documentation_pages():
        for link in LINK.findall(page.content_string):
            path = repository_path(page.src_uri, link)
            if files.get_file_from_path(site_path(path)) is None and (ROOT / path).is_file():
                files.append(source(config, path))
    return files


def on_page_markdown(markdown, page, files, **_):
    """Links by paths of the repository -> links by paths of the site. What is in neither stays, for MkDocs to complain of."""
    here = page.file.src_uri

    def rewritten(found: re.Match) -> str:
        place = site_path(repository_path(here, found[0]))
        return posixpath.relpath(place, posixpath.dirname(here) or ".") if files.get_file_from_path(place) else found[0]

    return LINK.sub(rewritten, markdown)


def source(config, path: str) -> File:
    """A file of the repository that is no page."""
    if path.endswith((".py", ".yaml")):
        language = {".py": "python", ".yaml": "yaml"}[Path(path).suffix]
        return File.generated(
            config, site_path(path), content=PAGE_OF_CODE.format(path=path, language=language, code=(ROOT / path).read_text())
        )
    return File.generated(config, site_path(path), abs_src_path=str(ROOT / path))


def repository_path(page: str, link: str) -> str:
    """Path in the repository that a link of a page leads to; `page` is the page's path in the site."""
    home = next((path for path, place in PAGES.items() if place == page), f"docs/{page}")
    return posixpath.normpath(posixpath.join(posixpath.dirname(home), link))


def site_path(path: str) -> str:
    """Path in the site, of a path in the repository."""
    if path in PAGES:
        return PAGES[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"source/{path}.md" if path.endswith((".py", ".yaml")) else f"source/{path}"
