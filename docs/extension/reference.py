"""The reference: a page for each config group, for each module, and for each other file that a page links to."""

import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sphinx.errors import ExtensionError

import kidasr
from extension import ideas
from extension.configs import about, chain, choices, explained, groups, settings, undocumented
from extension.links import DOCS, ROOT, file_page, linked_files

REFERENCE = DOCS / "reference"

#: What a page shows a file as.
LANGUAGES = {".py": "python", ".yaml": "yaml", "": "bash"}


def write_pages(app: Any) -> None:
    """Write all generated pages; a key without a comment, or an idea without a page, is an error."""
    if without := undocumented():
        raise ExtensionError("keys without a comment: " + "; ".join(without))
    if missing := [name for name in ideas.names() if not (DOCS / "ideas" / f"{name}.md").is_file()]:
        raise ExtensionError(f"ideas without a page: {', '.join(f'docs/ideas/{name}.md' for name in missing)}")
    pages = {f"reference/{path}.md": text for path, text in [*_config_pages(), *_module_pages(), *_file_pages()]}
    for path in {*REFERENCE.rglob("*.md")} - {DOCS / name for name in pages}:
        path.unlink()
    for name, text in pages.items():
        _write(DOCS / name, text)


def _write(path: Path, text: str) -> None:
    """Leave a file alone that is as it should be, so that its page need not be read again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def _config_pages() -> Iterator[tuple[str, str]]:
    names = [group.replace("/", "_") for group in groups()]
    yield (
        "config/index",
        "# Config keys\n\nEvery group, choice and key of `conf/`, with its default, its type and its comment. On a\n"
        "command line `group=choice` chooses, and `key=value` sets.\n\n"
        + _table(
            ["group", "choices"],
            [
                [f"[`{group}`]({name}.md)", ", ".join(f"[{one}]({name}.md#{one})" for one in choices(group))]
                for group, name in zip(groups(), names, strict=True)
            ],
        )
        + "\n## Keys of every job\n\n"
        + _keys("config")
        + _toctree(names),
    )
    for group, name in zip(groups(), names, strict=True):
        yield f"config/{name}", f"# `{group}`\n\n" + "".join(_choice(group, choice) for choice in choices(group))


def _choice(group: str, choice: str) -> str:
    path = f"{group}/{choice}"
    based_on = [one.rpartition("/")[2] for one in chain(group, choice)[1:]]
    parts = [f"## {choice}\n", f"`{group}={choice}`\n" if group != "hypotheses" else f"`hypotheses=[{choice}]`\n"]
    commands = [line for line in about(path).splitlines() if line.startswith("python run.py")]
    words = " ".join(line for line in about(path).splitlines() if line not in commands)
    parts += [f"{_escaped(words)}\n"] if words else []
    parts += ["```\n" + "\n".join(commands) + "\n```\n"] if commands else []
    parts += ["Based on " + ", ".join(f"[{one}](#{one})" for one in based_on) + ".\n"] if based_on else []
    text = (ROOT / "conf" / f"{path}.yaml").read_text(encoding="utf-8")
    parts += [_keys(path), f":::{{dropdown}} conf/{path}.yaml\n```yaml\n{text}```\n:::\n"]
    return "\n".join(parts) + "\n"


def _keys(path: str) -> str:
    rows = [
        [f"`{one.key}`", _code(one.value), _escaped(one.type), _escaped(one.comment or explained().get(one.key, ""))]
        for one in settings(path)
        if not one.key.startswith("job.")
    ]
    return _table(["key", "default", "type", ""], rows) if rows else ""


def _module_pages() -> Iterator[tuple[str, str]]:
    found = [one.name for one in pkgutil.walk_packages(kidasr.__path__, "kidasr.")]
    own = [name for name in found if not name.startswith("kidasr.embedded") and not name.endswith("__main__")]
    modules = ["kidasr", "hydra_plugins.kidasr_plugin", *own]
    yield (
        "api/index",
        "# Python API\n\n[python.md](../../python.md) shows how to use it. The functions of the package come first,\n"
        "then every module, in the order of the alphabet.\n\n" + "".join(f"- [`{name}`]({name}.md)\n" for name in modules),
    )
    for name in modules:
        # Members of its own, not those that a package passes on. Not in the contents, which each page would repeat.
        documented = f"```{{eval-rst}}\n.. automodule:: {name}\n   :ignore-module-all:\n```\n"
        yield f"api/{name}", f"---\norphan: true\n---\n\n# `{name}`\n\n{documented}"


def _file_pages() -> Iterator[tuple[str, str]]:
    yield (
        "files/index",
        "---\norphan: true\n---\n\n# Files\n\nFiles of the repository that pages link to.\n"
        + _toctree([file_page(name) for name in linked_files()]),
    )
    for name in linked_files():
        page = file_page(name)
        content = (ROOT / name).read_text(encoding="utf-8")
        if name.endswith(".md"):
            yield f"files/{page}", content
        else:
            language = LANGUAGES.get(Path(name).suffix, "text")
            yield f"files/{page}", f"# {name}\n\n````{language}\n{content.rstrip()}\n````\n"


def _toctree(pages: list[str]) -> str:
    return "\n```{toctree}\n:hidden:\n\n" + "\n".join(pages) + "\n```\n"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("\n", " ") for cell in line) + " |\n" for line in lines)


def _code(value: str) -> str:
    value = " ".join(value.split())
    return f"`{value.replace('|', chr(92) + '|')}`" if value else "`{}`"


def _escaped(text: str) -> str:
    """Plain text in Markdown."""
    for character in "\\`*_{}[]<>|$":
        text = text.replace(character, f"\\{character}")
    return text
