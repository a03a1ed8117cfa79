"""The pages: their links lead somewhere, the files that they name exist, and lines are short."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path for pattern in ("*.md", "docs/*.md", "model/*/README.md") for path in ROOT.glob(pattern)
)

#: A file or folder of the repository: `host/board/flash.py`, `docs/`.
_PATH = re.compile(r"`((?:boards|docs|gateware|host|model|tests)/[\w./-]*)`")
#: A file by its name alone.
_FILE = re.compile(r"`(\w+\.(?:py|cc|h))`")
#: Files of whoever reads the page.
_THEIRS = {"icesugar_pro.py", "model.py"}
#: A name in a file: `_MOVES` of `host/compiler/lowering/analysis.py`.
_NAME = re.compile(r"`(\w+)`\s+of\s+`([\w/]+\.py)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def lines(page: Path) -> list[str]:
    return page.read_text(encoding="utf-8").splitlines()


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings have on the forges that show Markdown."""
    headings = (line.lstrip("#").strip() for line in lines(page) if line.startswith("#"))
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def dead_links(page: Path) -> list[str]:
    dead = []
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        file, _, anchor = target.partition("#")
        if "://" in file:
            continue
        path = page.parent / file if file else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            dead.append(target)
    return dead


def missing_files(page: Path) -> list[str]:
    """Files that a page names and that do not exist; capitals, as in boards/NAME.py, stand in."""
    text = page.read_text(encoding="utf-8")
    paths = [name for name in _PATH.findall(text) if not re.search(r"[A-Z]{2}", name)]
    missing = [name for name in paths if not (ROOT / name).exists()]
    return missing + sorted(set(_FILE.findall(text)) - _THEIRS - file_names())


@cache
def file_names() -> set[str]:
    folders = ("boards", "docs", "gateware", "host", "model", "tests")
    return {path.name for folder in folders for path in (ROOT / folder).rglob("*.*")}


def missing_names(page: Path) -> list[str]:
    """Names that a page says are in a file and that are not."""
    named = _NAME.findall(page.read_text(encoding="utf-8"))
    return [name for name, file in named if name not in (ROOT / file).read_text(encoding="utf-8")]


def long_lines(page: Path) -> list[int]:
    """Numbers of lines over 100 columns; a row of a table is a line, however long."""
    return [
        number
        for number, line in enumerate(lines(page), 1)
        if len(line) > 100 and not line.startswith("|")
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_page(page):
    assert dead_links(page) == []
    assert missing_files(page) == []
    assert missing_names(page) == []
    assert long_lines(page) == []


def test_the_walk_stays_short():
    assert len(lines(ROOT / "docs/architecture.md")) <= 200


def test_every_page_is_linked():
    """Each page of docs is reached from README."""
    reached = {"README.md"}
    queue = [ROOT / "README.md"]
    while queue:
        page = queue.pop()
        for target in _LINK.findall(page.read_text(encoding="utf-8")):
            path = (page.parent / target.partition("#")[0]).resolve()
            name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else ""
            if path.suffix == ".md" and path.exists() and name not in reached:
                reached.add(name)
                queue.append(path)
    assert {path.relative_to(ROOT).as_posix() for path in PAGES} - reached == set()
