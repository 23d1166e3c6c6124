"""A report: one HTML file that needs no network.

Everything from outside, transcripts above all, is data: Jinja2 escapes it, and what scripts read is JSON whose ``<`` can't
end a script, put into the page as text and never as HTML.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from kidasr.durable import write_text
from kidasr.report.tables import Table


@dataclass
class Section:
    """A part of a page: its title, what it says in words, and its chart and table, either of which may be missing."""

    title: str
    paragraphs: Sequence[str] = ()
    items: Sequence[str] = ()
    chart: go.Figure | None = None
    table: Table | None = None
    #: Folded: a click away.
    details: tuple[str, Table] | None = None
    note: str = ""


@dataclass
class Page:
    """A report before it is written."""

    title: str
    sections: list[Section] = field(default_factory=list)
    #: See :func:`kidasr.report.browser.browser_data`.
    browser: Mapping[str, Any] | None = None

    def write(self, path: Path) -> None:
        """Write whole or not at all."""
        loader = PackageLoader("kidasr.report")
        environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        files = {name: Markup(loader.get_source(environment, f"report.{name}")[0]) for name in ("css", "js")}
        page = environment.get_template("report.html").render(
            page=self,
            css=files["css"],
            js=files["js"],
            plotly=Markup(get_plotlyjs()) if any(section.chart for section in self.sections) else "",
            charts=[_json(section.chart.to_json()) if section.chart else None for section in self.sections],
            data=_json(json.dumps(self.browser, ensure_ascii=False)) if self.browser else None,
        )
        write_text(path, page)


def _json(text: str) -> Markup:
    """JSON that may stand in a script element, whatever is in it."""
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))
