"""Run folders as a comparison reads them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kidasr.runs.folder import prepare_run_folder
from tests.conftest import composed

AGES = ("3-4", "9-10", "13+")


@pytest.fixture
def run_folder(tmp_path: Path) -> Callable[..., str]:
    """Writes what a comparison reads of a run folder, for twelve invented speakers of ten utterances.

    ``recorded`` is whether its config is there, as a run writes it, or only what was typed.
    """

    def write(
        name: str,
        wer: float,
        *overrides: str,
        seed: int = 1,
        finished: bool = True,
        recorded: bool = False,
        **change: Any,
    ) -> str:
        rng = np.random.default_rng([seed, int(1000 * wer)])
        folder = tmp_path / name
        (folder / ".hydra").mkdir(parents=True)
        (folder / ".hydra" / "overrides.yaml").write_text(json.dumps([*overrides, f"seed={seed}"]), encoding="utf-8")
        if recorded:
            prepare_run_folder(folder, composed(*overrides, f"seed={seed}"))
        rows = []
        for number in range(120):
            row = {
                "utterance_id": f"u{number:03}",
                "speaker_id": f"s{number // 10}",
                "age_bucket": AGES[number // 10 % 3],
                "normalized_reference": f"{number} red cats",
                "normalized_hypothesis": f"two red cats {seed} {overrides}",
                "words": 5,
                "characters": 20,
                "substitutions": int(rng.binomial(5, wer)),
                "deletions": 0,
                "insertions": int(rng.binomial(1, 0.1)),
                "character_errors": 3,
            }
            rows.append({**row, **change} if number == 7 else row)
        rng.shuffle(rows)  # the order is of no importance
        (folder / "predictions.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        if finished:
            (folder / "metrics.json").write_text("{}", encoding="utf-8")
        return str(folder)

    return write
