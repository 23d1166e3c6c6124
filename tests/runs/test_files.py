import json
from pathlib import Path

import pytest

from kidasr.runs.environment import environment
from kidasr.runs.files import write_json


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    write_json(path, {"wer": 0.5, "text": "é"})
    with pytest.raises(TypeError):
        write_json(path, {"wer": object()})
    assert json.loads(path.read_text(encoding="utf-8")) == {"wer": 0.5, "text": "é"}


def test_the_environment_is_what_one_needs_to_run_again_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "sesame")
    told = environment(seed=7)
    assert told["seed"] == 7
    assert {"torch", "transformers", "kidasr"} <= set(told["packages"])
    assert told["cpu"] and told["cpus"] >= 1 and told["python"].startswith("3.")
    assert "sesame" not in json.dumps(told)
