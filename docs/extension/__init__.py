"""What the site adds to the pages: contents, pages of the configs and of the code, and the config of each idea."""

from typing import Any

from sphinx.ext.napoleon import GoogleDocstring

from extension import ideas, links, reference


def setup(app: Any) -> dict[str, Any]:
    app.connect("builder-inited", reference.write_pages)
    app.connect("source-read", complete)
    app.connect("autodoc-skip-member", is_borrowed)
    app.connect("env-updated", without_source)
    # napoleon takes what is before a colon in the comment of a constant for its type.
    GoogleDocstring._consume_inline_attribute = lambda self: ("", self._dedent(self._consume_to_end()))
    return {"parallel_read_safe": True}


def without_source(app: Any, env: Any) -> None:
    """Take modules without source out of viewcode's list of sources, which would link to pages that there are not."""
    known = getattr(env, "_viewcode_modules", {})
    for name in [name for name, entry in known.items() if not entry]:
        del known[name]


def is_borrowed(app: Any, what: str, name: str, found: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what has its documentation from a function of another library that it wraps."""
    wrapped = getattr(found, "__wrapped__", None)
    return True if wrapped and not str(wrapped.__module__).startswith(("kidasr", "hydra_plugins")) else None


def complete(app: Any, page: str, source: list[str]) -> None:
    """Add to a page what is generated, and let its links to files lead to the pages of those files."""
    text = source[0]
    if page == "index":
        text = links.with_introduction(text)
    if page in ("index", "ideas/README"):
        text = links.with_contents(text, page)
    elif page.startswith("ideas/"):
        text = ideas.completed(text, page.removeprefix("ideas/"))
    source[0] = links.within_site(text, page)
