"""The site made of these pages: ``python -m sphinx -W --keep-going -n -b html docs outputs/site`` (see site.md)."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import kidasr  # noqa: E402
import kidasr.cli  # noqa: E402  registers the resolvers of the configs

project = "kidasr"
version = release = kidasr.__version__
project_copyright = "the authors of kidasr, MIT licence"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "extension",
]
root_doc = "index"
exclude_patterns = ["extension", "results/*/comparison.md"]  # the tables of the latter are in the pages

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "show-inheritance": True, "member-order": "bysource"}
autodoc_typehints = "none"  # Annotated[...] with its ranges is for the checks of a config, and in the reference of its keys
autoclass_content = "both"
autodoc_inherit_docstrings = False
napoleon_use_rtype = False
# Names of other libraries: their documentation is not at hand offline.
nitpick_ignore_regex = [("py:.*", r"(?!kidasr\.).*")]

html_theme = "furo"
html_title = "kidasr"
html_static_path = ["extension/static"]
html_css_files = ["kidasr.css"]
html_show_sphinx = False
html_copy_source = False
copybutton_prompt_text = "$ "
