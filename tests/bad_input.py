"""The tables of bad input: shared code.

Each row of a table is a test. `python -m tests.bad_input` generates the tables of docs/bad_input.md from them, and a test
checks that the page is up to date.
"""

import re
from dataclasses import dataclass
from typing import Any

from tests.conftest import ROOT

PAGE = ROOT / "docs" / "bad_input.md"

#: The tables follow this line.
LAST_LINE = (
    "A message starts with the location: FILE is the path, `m.jsonl:1` the manifest and its line, `u` the utterance.\n"
)


@dataclass(frozen=True)
class Row:
    """One bad input.

    Args:
        given: The input, in the form that its table uses.
        line: The expected message, with FILE for the file's path and ``...`` for anything; None if the input must work.
        note: What happens to the input if it works.
    """

    given: Any
    line: str | None = None
    note: str = "used as is"


def assert_line(actual: str, expected: str, file: object = "FILE") -> None:
    """Assert that the message is one line and the expected one."""
    parts = expected.replace("FILE", str(file)).split("...")
    pattern = "[^\n]*".join(map(re.escape, parts))
    assert re.fullmatch(pattern, actual), f"\n  {actual!r} is not\n  {expected!r}"
    assert len(actual.splitlines()) == 1, actual


def tables() -> dict[str, dict[str, Row]]:
    """Every table, by its heading on the page."""
    from tests.config.test_checks import MISTAKES
    from tests.corpus.test_bad_audio import AUDIO
    from tests.corpus.test_bad_manifests import AGES, LABELS, MANIFESTS
    from tests.corpus.test_formats import FORMATS
    from tests.corpus.test_segments import PARTS
    from tests.features.test_bad_texts import TEXTS
    from tests.model.test_bad_models import MODELS
    from tests.runs.test_folder import RUN_FOLDERS

    return {
        "Manifests": MANIFESTS,
        "Folders and other formats": FORMATS,
        "Ages": AGES,
        "Ages with `data.age_order=[K,1st,2nd]`": LABELS,
        "Texts": TEXTS,
        "Recordings": AUDIO,
        "Parts of recordings": PARTS,
        "Models": MODELS,
        "Configs": {f"`{command}`": Row(None, f"error: {line}...") for command, line in MISTAKES.items()},
        "Run folders": RUN_FOLDERS,
    }


def page() -> str:
    """The page as it should be: the text before the first table, then the tables."""
    parts = [PAGE.read_text(encoding="utf-8").partition(LAST_LINE)[0] + LAST_LINE]
    for heading, rows in tables().items():
        parts.append(f"\n### {heading}\n\n| given | |\n|---|---|\n")
        for what, row in rows.items():
            outcome = f"works: {row.note}" if row.line is None else f"`{row.line}`"
            cells = [cell.replace("|", "\\|") for cell in (what, outcome)]
            parts.append(f"| {' | '.join(cells)} |\n")
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
