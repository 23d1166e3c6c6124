"""Figures as SVG inside a page: in the page's colours and font, as wide as there is room."""

import io
import re
from xml.etree import ElementTree

from matplotlib import rc_context
from matplotlib.figure import Figure

from kidasr.report.figure import INK, PAPER, STYLE

SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"

ElementTree.register_namespace("", SVG.strip("{}"))


def inline_svg(figure: Figure, label: str, prefix: str) -> str:
    """An ``svg`` element for HTML.

    Args:
        figure: The figure.
        label: What it shows, for readers who can't see it.
        prefix: Prefix of all ids, since those of two figures must differ.
    """
    file = io.StringIO()
    with rc_context(STYLE):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(file.getvalue())
    for parent in list(root.iter()):
        for child in [one for one in parent if one.tag == f"{SVG}style" or not one.tag.startswith(SVG)]:
            parent.remove(child)
    root[:] = [child for child in root if child.tag != f"{SVG}metadata"]
    referred = {value for element in root.iter() for value in _references(element)}
    for element in root.iter():
        attributes = element.attrib
        name = attributes.pop("id", None)
        if name in referred:
            attributes["id"] = prefix + name
        if HREF in attributes:
            attributes["href"] = "#" + prefix + attributes.pop(HREF).removeprefix("#")
        if "clip-path" in attributes:
            attributes["clip-path"] = re.sub(r"url\(#", f"url(#{prefix}", attributes["clip-path"])
        if "style" in attributes:
            attributes["style"] = attributes["style"].replace(INK, "currentColor").replace(PAPER, "var(--page)")
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": label}
    return ElementTree.tostring(root, encoding="unicode")


def _references(element: ElementTree.Element) -> list[str]:
    """The ids that an element refers to."""
    return [element.get(HREF, "").removeprefix("#"), *re.findall(r"url\(#([^)]+)\)", element.get("clip-path", ""))]
