"""The published results: every number in a table is that of a ``comparison.json``."""

import importlib.util
import re
import runpy
import sys
from pathlib import Path

import pytest

from kidasr.report.report import _comparison_figures, main_effects
from tests.conftest import MICRO, ROOT, read_json, run_here

RESULTS = ROOT / "docs" / "results"
CORPUS = ROOT / "kidasr" / "embedded" / "corpus"


def pages() -> list[Path]:
    return [*sorted(RESULTS.glob("*.md")), *sorted((ROOT / "docs" / "ideas").glob("*.md")), ROOT / "README.md"]


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


@pytest.mark.figures
def test_every_factor_is_in_the_figure_by_age() -> None:
    comparison = read_json(RESULTS / "more_ideas" / "comparison.json")
    figures = _comparison_figures({one["configuration"]: [] for one in comparison["configurations"]}, comparison)
    factors = list(main_effects(comparison))
    shown = [label.get_text() for label in figures["effects_by_age"].axes[0].get_yticklabels()]
    assert len(factors) == 8 and [one for one in shown if one in factors] == factors


def test_the_plain_recipe_trains_and_its_transcripts_are_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of the micro model; the script is the other side of a comparison, so nothing of kidasr is in it."""
    script = RESULTS / "plain_recipe.py"
    assert "import kidasr" not in script.read_text(encoding="utf-8") and "from kidasr" not in script.read_text(
        encoding="utf-8"
    )
    for name in ("train", "validation"):
        rows = (CORPUS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()[:4]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "audio").symlink_to(CORPUS / "audio")
    test = tmp_path / "validation.jsonl"
    typed = [tmp_path / "train.jsonl", tmp_path / "out", "--model", MICRO, "--test", test, "--batch-size", "2"]
    monkeypatch.setattr(sys, "argv", list(map(str, [script, *typed])))
    runpy.run_path(str(script), run_name="__main__")
    assert set(read_json(tmp_path / "out" / "seconds.json")) == {"training", "test"}
    scored = ("job=score", f"transcripts={tmp_path}/out/test.jsonl", f"data.validation={test}", "seed=1", "name=plain")
    assert run_here(monkeypatch, *scored, f"hydra.run.dir={tmp_path}/plain-1", "report=none") == 0
    assert 0 < read_json(tmp_path / "plain-1" / "metrics.json")["final"]["wer"] < 2
