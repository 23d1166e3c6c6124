"""Links that work in the repository work on the site, too, and lists of links become its contents."""

import os.path
import re
from collections.abc import Callable
from pathlib import Path

from sphinx.errors import ExtensionError

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

#: Pages that are written by :mod:`extension.reference`, in the contents after those that index.md names.
GENERATED = {"Reference": ["reference/config/index", "reference/api/index"]}

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]+)?\)")


def page_of(path: str) -> str | None:
    """The generated page of a file or folder of the repository, by its path in it; None if it has none."""
    parts = Path(path).parts
    if parts[0] == "conf":
        if parts[1:] in ((), ("config.yaml",)):
            return "reference/config/index.md"
        group = parts[1:-1] if path.endswith(".yaml") else parts[1:]
        choice = f"#{Path(path).stem}" if path.endswith(".yaml") else ""
        return f"reference/config/{'_'.join(group)}.md{choice}"
    if parts[0] == "kidasr" and "embedded" not in parts and (path.endswith(".py") or "." not in parts[-1]):
        module = ".".join(Path(path).with_suffix("").parts).removesuffix(".__init__")
        return f"reference/api/{module}.md"
    if (ROOT / path).is_file():
        return f"reference/files/{file_page(path)}.md"
    return None


def file_page(path: str) -> str:
    """The name of the page of a file of the repository."""
    return re.sub(r"\W", "_", path).lstrip("_")


def linked_files() -> list[str]:
    """The files of the repository that pages link to, and that are neither configs nor modules."""
    found = set()
    for page in [ROOT / "README.md", *DOCS.glob("*.md"), *DOCS.glob("ideas/*.md")]:
        for match in _LINK.finditer(page.read_text(encoding="utf-8")):
            path = os.path.relpath(page.parent / match[2], ROOT)
            if not path.startswith("docs") and (page_of(path) or "").startswith("reference/files/"):
                found.add(path)
    return sorted(found)


def within_site(text: str, page: str) -> str:
    """Let links that leave docs/ lead to the page of what they name."""
    folder = (DOCS / page).parent

    def replaced(match: re.Match[str]) -> str:
        path = os.path.relpath(folder / match[2], ROOT)
        if path.startswith("docs/"):
            return match[0]
        if path == "README.md":
            target = "index.md"
        elif not (ROOT / path).exists():
            raise ExtensionError(f"{page}.md: {match[2]}: no such file")
        else:
            target = page_of(path) or ""
        if not target:
            raise ExtensionError(f"{page}.md: {match[2]}: there is no page for it")
        return f"[{match[1]}]({os.path.relpath(DOCS / target, folder)})"

    return _outside_of_code(text, lambda part: _LINK.sub(replaced, part))


def with_introduction(text: str) -> str:
    """The front page, with what the README says first instead of a heading."""
    introduction, _, _ = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## ")
    introduction = re.sub(r"\]\((?!https?:)docs/", "](", introduction)
    return introduction + "\n" + text.partition("\n")[2]


def with_contents(text: str, page: str) -> str:
    """Make each section's list of links a part of the contents; pages that no section names come last, under More."""
    parts = re.split(r"(?m)^(?=## )", text)
    named = {"index"}
    out = []
    for part in parts:
        heading = part.partition("\n")[0].removeprefix("## ")
        pages = [match[1] for match in re.finditer(r"(?m)^- \[[^\]]+\]\(([^)#]+)\.md\)", part)]
        named |= set(pages)
        if part.startswith("## "):
            part += _toctree(pages, heading if page == "index" else None)
        out.append(part)
    if page == "index":
        for heading, pages in GENERATED.items():
            out.append(f"\n{_toctree(pages, heading)}")
        if more := sorted({path.stem for path in DOCS.glob("*.md")} - named):
            listed = "".join(f"- {{doc}}`{one}`\n" for one in more)
            out.append(f"\n## More\n\n{listed}{_toctree(more, 'More')}")
    return "".join(out)


def _toctree(pages: list[str], caption: str | None) -> str:
    options = ":hidden:\n" + (f":caption: {caption}\n" if caption else "")
    return f"\n```{{toctree}}\n{options}\n" + "\n".join(pages) + "\n```\n\n" if pages else ""


def _outside_of_code(text: str, change: Callable[[str], str]) -> str:
    parts = re.split(r"(?ms)(^```.*?^```$)", text)
    return "".join(part if part.startswith("```") else change(part) for part in parts)
