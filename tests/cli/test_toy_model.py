"""Whoever trains the toy model on a corpus of his own is told; whoever means it is not."""

from pathlib import Path

import pytest

from kidasr.cli.toy_model import toy_model_warning
from tests.conftest import composed, run_here

OWN = ("data=manifest", "data.train=mine.jsonl")


@pytest.mark.parametrize(
    ("overrides", "is_told"),
    [
        (OWN, True),
        (("data.train=mine.jsonl",), True),
        ((*OWN, "augment=specaugment"), True),
        ((*OWN, "model=micro"), False),
        ((*OWN, "model=whisper"), False),
        ((*OWN, "model.name_or_path=mine"), False),
        ((*OWN, "experiment=whisper_small"), False),
        ((), False),
        (("augment=specaugment",), False),
    ],
)
def test_the_toy_model_on_ones_own_corpus(overrides: tuple[str, ...], is_told: bool) -> None:
    warning = toy_model_warning(composed(*overrides), overrides)
    assert (warning is not None) == is_told
    assert warning is None or "model=whisper model.name_or_path=" in warning


def test_it_is_said_before_anything_goes_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone.jsonl"
    assert run_here(monkeypatch, "data=manifest", f"data.train={gone}", f"hydra.run.dir={tmp_path / 'run'}") == 2
    out, err = capsys.readouterr()
    assert out.startswith("warning: no model= was given, so the toy model") and "no such file" in err
