"""The Python API: load a corpus, train, transcribe, score and compare."""

import subprocess
import sys
from pathlib import Path

import pytest

import kidasr
from tests.conftest import MICRO, ROOT, read_json

CORPUS = MICRO.parent / "corpus"
SHORT = ("debug=smoke", "report=none", "trainer.zero_shot=false", "trainer.max_steps=1")


def test_the_package_does_what_the_command_line_does(tmp_path: Path) -> None:
    sets = kidasr.load_corpus(CORPUS / "train.jsonl", CORPUS / "validation.jsonl", "data.limit_validation=4")
    metrics = kidasr.train(*SHORT, run_dir=tmp_path / "a")
    assert metrics == read_json(tmp_path / "a" / "metrics.json") == kidasr.train(*SHORT, run_dir=tmp_path / "a")
    texts = kidasr.transcribe(tmp_path / "a" / "model", sets.validation, "trainer.bf16=false")  # as it was trained
    score = kidasr.score(sets.validation, texts)
    assert (score["wer"], score["words"]) == (metrics["final"]["wer"], metrics["final"]["words"])
    other = kidasr.train(*SHORT, "augment=specaugment", run_dir=tmp_path / "b")
    (pair,) = kidasr.compare([tmp_path / "a", tmp_path / "b"], tmp_path / "c")["pairs"]
    assert pair["delta_wer"] == pytest.approx(other["final"]["wer"] - metrics["final"]["wer"])


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import sys, kidasr; assert not {'torch', 'hydra', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_mistake_is_kidasrs_own_error(tmp_path: Path) -> None:
    from kidasr.errors import KidasrError

    with pytest.raises(KidasrError, match=r"^seed=-1: should be greater than or equal to 0$"):
        kidasr.train("seed=-1", run_dir=tmp_path / "run")
    with pytest.raises(KidasrError, match=r"^augment=nothing: no such choice; expected: adult_to_child, "):
        kidasr.compose("augment=nothing")
    with pytest.raises(KidasrError, match=r"^augment.freq_mask_parm: no such key; did you mean augment.freq_mask_param"):
        kidasr.compose("augment=specaugment", "augment.freq_mask_parm=3")
    assert not (tmp_path / "run").exists()


def test_a_composed_run_prints_as_yaml_can_be_changed_and_is_what_is_trained(tmp_path: Path) -> None:
    config = kidasr.compose(*SHORT, "augment=specaugment", "augment.freq_mask_param=20")
    assert "augment:\n  specaugment:\n    _target_: " in repr(config) and str(config) == repr(config)
    config.augment.specaugment.freq_mask_param = 21
    kidasr.train(config, run_dir=tmp_path / "run")
    assert read_json(tmp_path / "run" / "config.json")["augment"]["specaugment"]["freq_mask_param"] == 21
    assert "  run_dir: ${hydra:runtime.output_dir}\n" in repr(config), "the caller's config stays as it was"
    with pytest.raises(TypeError, match="one composed config, or overrides"):
        kidasr.train(config, "seed=2", run_dir=tmp_path / "other")
