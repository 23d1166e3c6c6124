"""What a model folder says of how its model was trained."""

import json
import os
import shutil
import stat
from importlib.metadata import version
from pathlib import Path

import pytest

from kidasr.errors import KidasrError
from kidasr.model.as_trained import padding_as_trained, read_description
from tests.conftest import MICRO, job

SHORT = ("debug=smoke", "trainer.zero_shot=false", "data.tests.adults=null", "report=none")


def test_a_model_folder_says_its_padding_wherever_it_is_and_others_can_read_it(tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        job(tmp_path / "run", *SHORT, "padding=longest", "padding.trailing_silence_sec=0.3", "adapter=age").run()
    finally:
        os.umask(umask)
    moved = shutil.copytree(tmp_path / "run" / "model", tmp_path / "elsewhere")
    padding = padding_as_trained(str(moved))
    assert (padding.is_short, padding.trailing_silence_sec) == (True, 0.3)
    said = read_description(moved)
    assert said["normalizer"] == "transformers.models.whisper.english_normalizer.EnglishTextNormalizer"
    assert 0.5 < said["trained_sec"]["median"] <= said["trained_sec"]["p95"] <= said["trained_sec"]["longest"] < 3
    assert (said["rate"], said["writes"]) == ("WER", "en") and said["versions"]["transformers"] == version("transformers")
    assert (moved / "preprocessor_config.json").is_file(), "which converters read"
    modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in moved.rglob("*")}
    assert modes == {(False, 0o644), (True, 0o755)}, "the folders of the age adapters, too"
    (moved / "kidasr.json").unlink()
    (tmp_path / "run" / "model" / "kidasr.json").unlink()
    assert padding_as_trained(str(tmp_path / "run" / "model")).is_short, "a run from before there was such a file"
    assert not padding_as_trained(str(moved)).is_short and not padding_as_trained(str(MICRO)).is_short
    (moved / "kidasr.json").write_text("{}")
    with pytest.raises(KidasrError, match=r"kidasr\.json: can't be read"):
        padding_as_trained(str(moved))


def test_a_model_on_the_hub_says_its_padding_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read from the cache of the hub's library, as after a download."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    cached = tmp_path / "models--somebody--short"
    (cached / "snapshots" / "abc").mkdir(parents=True)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc")
    padding = {"padding": "longest", "trailing_silence_sec": 0.4, "mask": True, "group_by_length": True}
    (cached / "snapshots" / "abc" / "kidasr.json").write_text(json.dumps({"padding": padding}))
    assert padding_as_trained("somebody/short").trailing_silence_sec == 0.4
    assert not padding_as_trained("openai/whisper-tiny").is_short
