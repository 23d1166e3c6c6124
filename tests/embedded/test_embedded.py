"""The embedded corpus and model are as documented, and their scripts reproduce them."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import hydra
import pytest
from transformers import pipeline

from kidasr.corpus.age import AgeBuckets
from kidasr.corpus.audio import load_audio, measured_sec
from kidasr.embedded import make_corpus, pretrain_micro
from kidasr.embedded.synthesis import SynthesisError
from kidasr.model.pretrained import PretrainedWhisper
from tests.conftest import MICRO, ROOT, composed, read_jsonl

CORPUS = ROOT / "kidasr" / "embedded" / "corpus"


def script(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"kidasr.embedded.{module}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_every_age_bucket_has_speakers_and_every_recording_is_there(split: str) -> None:
    utterances = getattr(hydra.utils.instantiate(composed().data).load(), split)
    assert {utterance.age_bucket for utterance in utterances} == set(AgeBuckets().names[:-1])
    assert len({utterance.speaker_id for utterance in utterances}) >= 24
    for utterance in utterances:
        assert measured_sec(utterance, window_sec=3) == pytest.approx(utterance.duration_sec, abs=0.01)
    for utterance in utterances[::20]:
        assert len(load_audio(utterance)) / 16_000 == pytest.approx(utterance.duration_sec, abs=0.01)


def test_the_adults_are_a_small_set_of_their_own() -> None:
    sets = hydra.utils.instantiate(composed().data).load()
    adults = sets.tests["adults"]
    assert len(adults) == 30 and len({one.speaker_id for one in adults}) == 6
    assert all(one.age >= 20 for one in adults)
    for one in adults:
        assert measured_sec(one, window_sec=3) == pytest.approx(one.duration_sec, abs=0.01)
    assert sum(Path(one.audio_path).stat().st_size for one in adults) < 300_000
    for name in ("train", "validation"):
        assert not {one.speaker_id for one in adults} & {one.speaker_id for one in sets.named()[name]}


def test_the_micro_model_is_a_whisper_of_a_million_parameters() -> None:
    whisper = PretrainedWhisper(str(MICRO), "en", "transcribe").load()
    assert 0.8e6 < whisper.model.num_parameters() < 1.5e6
    assert whisper.processor.feature_extractor.feature_size == 80
    assert pipeline("automatic-speech-recognition", model=str(MICRO)).type == "seq2seq_whisper"


def test_the_corpus_is_made_again_as_it_is(tmp_path: Path) -> None:
    made = script("make_corpus", "--output", str(tmp_path), "--limit", "4")
    if "not installed" in made.stderr:
        pytest.skip(made.stderr.strip())
    assert made.returncode == 0, made.stderr
    for split in ("train", "validation", "adults"):
        again = read_jsonl(tmp_path / f"{split}.jsonl")
        assert len(again) == 4
        kept = {row["utterance_id"]: row for row in read_jsonl(CORPUS / f"{split}.jsonl")}
        for row in again:
            assert {**row, "duration_sec": 0} == {**kept[row["utterance_id"]], "duration_sec": 0}
            assert row["duration_sec"] == pytest.approx(kept[row["utterance_id"]]["duration_sec"], abs=0.05)
            assert (tmp_path / row["audio_path"]).stat().st_size > 500


def test_the_model_is_pretrained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain_micro, "UNHEARD_CLIPS", 4)
    try:
        pretrain_micro.pretrain_micro(tmp_path, max_steps=2, clips=8, threads=1)
    except SynthesisError as error:
        pytest.skip(str(error))
    again = PretrainedWhisper(str(tmp_path), "en", "transcribe").load()
    kept = PretrainedWhisper(str(MICRO), "en", "transcribe").load()
    assert again.model.config.to_diff_dict() == kept.model.config.to_diff_dict()
    assert again.processor.tokenizer.get_vocab() == kept.processor.tokenizer.get_vocab()


@pytest.mark.parametrize("module", [make_corpus, pretrain_micro])
def test_a_machine_without_espeak_is_told_what_to_install(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit) as end:
        module.main(["--output", str(tmp_path / "out")])
    assert "espeak-ng is not installed: on Debian or Ubuntu run `apt-get install espeak-ng`" in str(end.value.code)
