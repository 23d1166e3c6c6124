"""A report: one HTML file that works offline.

All external input, transcripts above all, is treated as data. Jinja2 escapes it. Scripts read it as JSON in which ``<`` is
escaped, and insert it into the page as text, never as HTML.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from kidasr.durable import write_text
from kidasr.report.svg import inline_svg
from kidasr.report.tables import Table


@dataclass(frozen=True)
class Player:
    """A recording with its text."""

    #: Who, where, how long.
    facts: str
    #: What is to be noticed.
    remark: str
    text: str
    #: See :class:`kidasr.report.browser.AudioUrls`.
    audio: str | None
    #: Its spectrogram, as a data URL.
    image: str | None = None


@dataclass
class Section:
    """A section of a page: title, text, and optionally facts, figures, a table and recordings."""

    title: str
    paragraphs: Sequence[str] = ()
    items: Sequence[str] = ()
    #: Names and values, as a list of definitions.
    facts: Mapping[str, str] = field(default_factory=dict)
    #: Figures by what they show, for readers who can't see them.
    figures: Mapping[str, Figure] = field(default_factory=dict)
    table: Table | None = None
    #: A collapsed table, with its title.
    details: tuple[str, Table] | None = None
    #: Recordings to listen to.
    players: Sequence[Player] = ()
    note: str = ""


@dataclass
class Page:
    """The content of a report."""

    title: str
    #: The folder of the run or comparison.
    folder: str = ""
    sections: list[Section] = field(default_factory=list)
    #: See :func:`kidasr.report.browser.browser_data`.
    browser: Mapping[str, Any] | None = None

    def write(self, path: Path) -> None:
        """Write the file atomically."""
        loader = PackageLoader("kidasr.report")
        environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        files = {name: Markup(loader.get_source(environment, f"report.{name}")[0]) for name in ("css", "js")}
        numbers = count()
        page = environment.get_template("report.html").render(
            page=self,
            css=files["css"],
            js=files["js"],
            svg=lambda label, figure: Markup(inline_svg(figure, label, f"f{next(numbers)}-")),
            data=_json(json.dumps(self.browser, ensure_ascii=False)) if self.browser else None,
        )
        write_text(path, page)


def _json(text: str) -> Markup:
    """Escape JSON for use in a script element."""
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))
