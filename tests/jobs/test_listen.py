"""A page of augmentations, from the command line."""

from pathlib import Path

import pytest

from tests.conftest import read_json, run_here


def test_each_augmentation_is_shown_on_utterances_that_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = (
        "augment=[concat,speed,vtlp]",
        "augment.concat.max_sec=6",
        "utterances=2",
        "model=micro",
        "report.embed_audio_mb=0",
    )
    assert run_here(monkeypatch, "job=listen", *overrides, f"hydra.run.dir={tmp_path}") == 0
    shown = read_json(tmp_path / "listen.json")
    assert list(shown) == ["concat", "speed", "vtlp", "all of them"] and {len(of) for of in shown.values()} == {2}
    for one in shown["speed"]:
        before, after = one["duration_sec"]["before"], one["duration_sec"]["after"]
        assert before / after == pytest.approx(float(one["drawn"][0].removeprefix("speed ")), abs=1e-3) != 1
    assert all(one["duration_sec"]["after"] <= 3 for of in shown.values() for one in of), "the model's window"
    assert any(one["duration_sec"]["after"] > one["duration_sec"]["before"] for one in shown["concat"])
    assert all(one["drawn"] for one in shown["vtlp"])
    assert len(list(tmp_path.glob("speed-*.flac"))) == 4 and (tmp_path / "listen.html").is_file()
    assert "augment: speed: " in capsys.readouterr().out


def test_nothing_to_listen_to_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_here(monkeypatch, "job=listen") == 2
    assert capsys.readouterr().err.startswith("error: augment=none: nothing to listen to; expected: augment=kids, or")
