"""Engines of ``job=transcribe``: each transcribes as PyTorch does, whatever an utterance's batch."""

import logging
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate

from kidasr.config import ConfigError, check_config
from kidasr.corpus.manifest import Utterance
from kidasr.errors import KidasrError
from kidasr.recognition.backends import ctranslate2_backend
from kidasr.recognition.backends.backend import Transcribes
from tests.conftest import MICRO, composed, read_jsonl
from tests.model.random_whisper import Shape, edit_json, make_checkpoint, real_files

CORPUS = MICRO.parent / "corpus"
FLOAT32 = ("backend=ctranslate2", "backend.compute_type=float32")


def job(folder: Path, *options: str, model: Path = MICRO) -> Any:
    cfg = composed("job=transcribe", f"input={CORPUS / 'audio'}", f"model.name_or_path={model}", *options)
    cfg.job.output_dir = str(folder)
    check_config(cfg)
    return instantiate(cfg.job)


def prepared(*options: str, model: Path = MICRO) -> Transcribes:
    found: Transcribes = job(Path("none"), *options, model=model).prepare()
    return found


@pytest.fixture(scope="module")
def heard() -> list[Utterance]:
    """Clips of children and adults, of many lengths."""
    rows = [*read_jsonl(CORPUS / "validation.jsonl")[::16], *read_jsonl(CORPUS / "adults.jsonl")[::6]]
    paths = [str(CORPUS / row["audio_path"]) for row in rows]
    return [Utterance.of_recording(path, path) for path in paths]


@pytest.mark.parametrize("beams", [1, 3])
def test_ctranslate2_says_what_torch_says(heard: list[Utterance], beams: int, caplog: pytest.LogCaptureFixture) -> None:
    options = ("trainer.bf16=false", f"trainer.generation_num_beams={beams}")
    with caplog.at_level(logging.INFO):
        texts = [prepared(*options, *backend)(heard) for backend in ((), FLOAT32)]
    assert "backend: CTranslate2" in caplog.text and "float32" in caplog.text
    assert len(set(texts[0])) > 8
    assert texts[0] == texts[1]


@real_files
@pytest.mark.slow
@pytest.mark.parametrize("shape", [Shape(1, 1), Shape(1, 1, is_english=True), Shape(1, 1, is_v3=True)])
def test_every_kind_of_whisper_is_converted(heard: list[Utterance], shape: Shape, tmp_path: Path) -> None:
    """Random weights: nearly every token is another one, so a vocabulary or a prompt that is off by one shows."""
    model = make_checkpoint(tmp_path / "model", shape)
    options: tuple[str, ...] = ("trainer.bf16=false", "trainer.generation_max_length=8", "input_length=short")
    if not shape.is_english:
        options = (*options, "model.language=de")
    exact = (*FLOAT32, "backend.length_step_sec=0.02")
    texts = [prepared(*options, *backend, model=model)(heard[:4]) for backend in ((), exact)]
    assert texts[0] == texts[1] and all(texts[0])


def test_a_transcript_does_not_depend_on_its_batch(heard: list[Utterance]) -> None:
    short = ("input_length=short", "padding=longest", "trainer.generation_max_tokens_per_sec=6")
    alone = prepared(*FLOAT32, *short, "trainer.per_device_eval_batch_size=1")(heard)
    lengths: list[tuple[int, ...]] = []
    together = prepared(*FLOAT32, *short, "backend.length_step_sec=0.5")
    generate = together.model.generate  # type: ignore[attr-defined]

    class Counting:
        def generate(self, features: Any, *arguments: Any, **options: Any) -> Any:
            lengths.append(tuple(features.shape))
            return generate(features, *arguments, **options)

    together.model = Counting()  # type: ignore[attr-defined]
    texts = together(heard)
    assert sum(size for size, _, _ in lengths) == len(heard) > len(lengths), "several in a batch"
    assert {frames % 50 for _, _, frames in lengths} == {0} and len(lengths) > 2
    assert together(heard[::-1]) == texts[::-1]
    assert len(texts) == len(alone)


def test_a_runaway_is_bounded_by_its_own_seconds(heard: list[Utterance], tmp_path: Path) -> None:
    looping = tmp_path / "looping"
    shutil.copytree(MICRO, looping)
    end = 256
    suppressed = [257, 258, 259, 260, 261, 262, end]
    edit_json(looping / "generation_config.json", {"suppress_tokens": suppressed})
    bound = ("trainer.generation_max_tokens_per_sec=4", "input_length=window", "trainer.bf16=false")
    texts = [prepared(*backend, *bound, model=looping)(heard) for backend in ((), FLOAT32)]
    assert texts[0] == texts[1]
    assert all(0 < len(text.encode()) <= 12 for text in texts[1]), "of this model a token is a byte"


def test_what_was_stopped_goes_on_and_another_engine_needs_another_folder(tmp_path: Path) -> None:
    from kidasr.runs.identity import is_same_experiment, resolved

    def config(*options: str) -> dict[str, Any]:
        return resolved(composed("job=transcribe", "input=a.wav", *options))

    before = {key: value for key, value in config().items() if key != "backend"}
    assert is_same_experiment(before, config()), "of a folder from before there were engines"
    assert not is_same_experiment(config(), config("backend=ctranslate2"))
    assert not is_same_experiment(config("backend=ctranslate2"), config(*FLOAT32))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["backend.compute_type=int4"], r"backend\.compute_type=int4: should be 'float32', "),
        (["backend.length_step_sec=0"], r"backend\.length_step_sec=0: should be greater than 0"),
    ],
)
def test_keys_are_checked(options: Sequence[str], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        prepared("backend=ctranslate2", *options)


def test_what_ctranslate2_can_not_do_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        KidasrError, match=r"^backend\.compute_type=float16: this CPU can't do it efficiently; expected: .*int8"
    ):
        prepared("backend=ctranslate2", "backend.compute_type=float16")
    unusual = tmp_path / "unusual"
    shutil.copytree(MICRO, unusual)
    edit_json(unusual / "generation_config.json", {"repetition_penalty": 1.3})
    with pytest.raises(KidasrError, match=r"have repetition_penalty=1\.3, which it does not know; expected: backend=torch"):
        prepared("backend=ctranslate2", model=unusual)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "ctranslate2", None)
        with pytest.raises(KidasrError, match=r"^backend=ctranslate2: needs the package ctranslate2; expected: pip install"):
            prepared("backend=ctranslate2")
    ctranslate2_backend.Ctranslate2("int8", 0.2).check("cpu")
