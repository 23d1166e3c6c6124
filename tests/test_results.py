"""The published results: every number in a table is that of a ``comparison.json``."""

import importlib.util
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

RESULTS = ROOT / "docs" / "results"


def pages() -> list[Path]:
    return [*sorted(RESULTS.glob("*.md")), *sorted((ROOT / "docs" / "ideas").glob("h?.md")), ROOT / "README.md"]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_the_tables_are_those_of_the_comparisons(page: Path) -> None:
    found = importlib.util.spec_from_file_location("tables", RESULTS / "tables.py")
    assert found and found.loader
    tables = importlib.util.module_from_spec(found)
    found.loader.exec_module(tables)
    text = page.read_text(encoding="utf-8")
    assert tables.filled(text) == text, "python docs/results/tables.py"


def test_nothing_of_a_machine_or_of_what_was_said_is_published() -> None:
    published = [path for path in RESULTS.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    for path in published:
        assert path.suffix in (".md", ".json", ".yaml", ".csv", ".tex", ".png", ".pdf", ".py"), path
        if path.suffix not in (".png", ".pdf"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"(?<!\w)/(work|home|root|tmp|mnt)/", text), path
            assert '"normalized_hypothesis"' not in text
