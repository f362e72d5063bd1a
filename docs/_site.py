"""Hook of mkdocs: files of the repository that pages link to become files of the site.

A page says `../benchmarks/results/ml-100k/table.md`, which is right where the repository is read.
In the site that file stands under `repository/`, and the link is rewritten.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
FOLDER = "repository"
LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)]*)?\))")


def on_files(files, config):
    """Add what pages link to outside docs/, and what these files link to in turn."""
    waiting = [(file.src_uri, Path(file.abs_src_path)) for file in files.documentation_pages()]
    while waiting:
        page, source = waiting.pop()
        for link in LINK.finditer(source.read_text(encoding="utf-8")):
            target = _target(page, link.group(2))
            if target is None or files.get_file_from_path(_uri(target)) is not None:
                continue
            path = ROOT / target
            if path.is_file():
                added = File.generated(config, _uri(target), abs_src_path=str(path))
                files.append(added)
                if added.is_documentation_page():
                    waiting.append((added.src_uri, path))
    return files


def on_page_markdown(markdown, page, config, files):
    """Let links point to where the site has the file."""

    def moved(link):
        target = _target(page.file.src_uri, link.group(2))
        if target is None or files.get_file_from_path(_uri(target)) is None:
            return link.group(0)
        start = posixpath.dirname(page.file.src_uri)
        return f"{link.group(1)}{posixpath.relpath(_uri(target), start or '.')}{link.group(3)}"

    return LINK.sub(moved, markdown)


def _target(page: str, link: str) -> str | None:
    """Return the path in the repository that a link of a page means; None for other links."""
    if "://" in link or link.startswith(("/", "mailto:")):
        return None
    here = posixpath.dirname(page)
    if here == FOLDER or here.startswith(f"{FOLDER}/"):
        place = here.removeprefix(FOLDER).lstrip("/")
    else:
        place = posixpath.join("docs", here)
    target = posixpath.normpath(posixpath.join(place, link))
    return None if target.startswith("..") else target


def _uri(target: str) -> str:
    """Where the site has a file of the repository."""
    return target.removeprefix("docs/") if target.startswith("docs/") else f"{FOLDER}/{target}"
