"""Exported models: other programs load them, and they say the same words."""

import json
import logging
import os
import shutil
import stat
import sys
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from kidasr.config import ConfigError, check_config
from kidasr.corpus.audio import load_audio
from kidasr.corpus.manifest import Utterance
from kidasr.errors import KidasrError
from kidasr.features.dataset import ChildSpeechDataset
from kidasr.model.as_trained import padding_as_trained
from kidasr.model.pretrained import PretrainedWhisper
from kidasr.recognition.transcribe import Transcriber
from tests.conftest import KIDS, MICRO, TINY_EN, composed, read_json, read_jsonl, real_data, run_here

CORPUS = MICRO.parent / "corpus"

#: As a run writes it.
SHORT = {"padding": "longest", "trailing_silence_sec": 0.2, "mask": True, "group_by_length": True}


def export(output: Path, *options: str, model: Path = MICRO) -> Path:
    cfg = composed("job=export", f"model.name_or_path={model}", f"output={output}", *options)
    cfg.job.run_dir = str(output.parent / "run")
    check_config(cfg)
    instantiate(cfg.job).run()
    return output


def clips(number: int = 12) -> list[Utterance]:
    paths = [str(CORPUS / row["audio_path"]) for row in read_jsonl(CORPUS / "validation.jsonl")[::15][:number]]
    return [Utterance.of_recording(path, path) for path in paths]


def words_of_kidasr(model: Path, heard: list[Utterance]) -> list[str]:
    recogniser = PretrainedWhisper(str(model), "en", "transcribe").load()
    return Transcriber(recogniser, 4, 1, 25)(ChildSpeechDataset(heard, recogniser)).texts


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder as a run leaves it, with a card and adapters for age groups, and weights for its owner alone."""
    folder = tmp_path / "model"
    shutil.copytree(MICRO, folder)
    (folder / "README.md").write_text("# A card", encoding="utf-8")
    (folder / "kidasr.json").write_text(json.dumps({"kidasr": "0.0.9", "padding": SHORT, "mine": 1}), encoding="utf-8")
    (folder / "age_adapters" / "3-4").mkdir(parents=True)
    (folder / "age_adapters" / "3-4" / "adapter_config.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors").chmod(0o600)
    return folder


@pytest.mark.parametrize(("dtype", "shard"), [("float32", "null"), ("bfloat16", "0.001")])
def test_safetensors_are_a_plain_checkpoint_with_all_that_belongs_to_it(
    model: Path, tmp_path: Path, dtype: str, shard: str
) -> None:
    umask = os.umask(0o022)
    try:
        out = export(
            tmp_path / "out", "format=safetensors", f"format.dtype={dtype}", f"format.max_shard_gb={shard}", model=model
        )
    finally:
        os.umask(umask)
    stock = WhisperForConditionalGeneration.from_pretrained(out)
    assert stock.dtype == getattr(torch, dtype) and stock.generation_config.num_beams == 1
    assert len(list(out.glob("*.safetensors"))) == (1 if shard == "null" else 3)
    processor = WhisperProcessor.from_pretrained(out)
    heard = clips()
    features = processor([load_audio(one) for one in heard], sampling_rate=16_000, return_tensors="pt").input_features
    texts = processor.batch_decode(stock.generate(features.to(stock.dtype)), skip_special_tokens=True)
    expected = words_of_kidasr(MICRO, heard)
    same = sum(one.strip() == other for one, other in zip(texts, expected, strict=True))
    assert same >= (12 if dtype == "float32" else 10) and len(set(expected)) > 6
    said = read_json(out / "kidasr.json")
    assert said["mine"] == 1 and said["padding"] == SHORT and padding_as_trained(str(out)).is_short
    assert said["exported"] == {"from": str(model), "format": f"safetensors, {dtype} (transformers)"}
    assert (out / "README.md").read_text() == "# A card"
    assert (out / "age_adapters" / "3-4" / "adapter_config.json").is_file()
    assert {stat.S_IMODE(one.stat().st_mode) for one in out.rglob("*") if one.is_file()} == {0o644}
    assert sorted(one.name for one in tmp_path.iterdir()) == ["model", "out"], "nothing is left aside"


def test_ctranslate2_says_the_same_words(model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        out = export(tmp_path / "out", "format=ctranslate2", "format.quantization=float32", model=model)
    assert "the model's window is 3 s" in caplog.text and "(age_adapters) can't be exported" in caplog.text
    assert "trained on short input" in caplog.text
    assert {"model.bin", "config.json", "vocabulary.json", "tokenizer.json", "preprocessor_config.json"} <= {
        one.name for one in out.iterdir()
    }
    heard, recogniser = clips(), PretrainedWhisper(str(MICRO), "en", "transcribe").load()
    dataset = ChildSpeechDataset(heard, recogniser)
    features = np.stack([dataset.example(place)["input_features"].numpy() for place in range(len(heard))])
    engine = ctranslate2.models.Whisper(str(out), compute_type="float32", intra_threads=1)
    prompts = [list(recogniser.prompt)] * len(heard)
    found = engine.generate(ctranslate2.StorageView.from_array(features), prompts, beam_size=1, max_length=120)
    texts = [recogniser.processor.tokenizer.decode(one.sequences_ids[0], skip_special_tokens=True).strip() for one in found]
    assert texts == words_of_kidasr(MICRO, heard)


def greedy_with_onnx(folder: Path, features: np.ndarray[Any, Any], prompt: list[int], end: int, longest: int) -> list[int]:
    import onnxruntime

    encoder, decoder = (
        onnxruntime.InferenceSession(str(folder / f"{name}_model.onnx"), providers=["CPUExecutionProvider"])
        for name in ("encoder", "decoder")
    )
    config = read_json(folder / "generation_config.json")
    (hidden,) = encoder.run(None, {"input_features": features[None]})
    tokens = list(prompt)
    while len(tokens) < len(prompt) + longest:
        (logits,) = decoder.run(None, {"input_ids": np.array([tokens]), "encoder_hidden_states": hidden})
        scores = logits[0, -1]
        scores[config["suppress_tokens"]] = -np.inf
        if len(tokens) == len(prompt):
            scores[config["begin_suppress_tokens"]] = -np.inf
        tokens.append(int(scores.argmax()))
        if tokens[-1] == end:
            return tokens[len(prompt) : -1]
    return tokens[len(prompt) :]


@pytest.mark.slow
def test_onnx_says_the_same_words_and_takes_short_input(tmp_path: Path) -> None:
    out = export(tmp_path / "out", "format=onnx")
    heard, recogniser = clips(), PretrainedWhisper(str(MICRO), "en", "transcribe").load()
    dataset, end = ChildSpeechDataset(heard, recogniser), recogniser.processor.tokenizer.eos_token_id
    for place, words in enumerate(words_of_kidasr(MICRO, heard)):
        features = dataset.example(place)["input_features"].numpy()
        tokens = greedy_with_onnx(out, features, list(recogniser.prompt), end, 60)
        assert recogniser.processor.tokenizer.decode(tokens).strip() == words
    greedy_with_onnx(out, features[:, :50], list(recogniser.prompt), end, 3)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["model.name_or_path=./nowhere"], r"model\.name_or_path=\./nowhere: no such folder; expected: "),
        (["model.name_or_path={tmp}/bert"], r"model\.name_or_path=.*/bert: a bert checkpoint; expected: whisper"),
        (["output={tmp}/full"], r"output=.*/full: is not empty, it holds config\.json; expected: a new or empty folder"),
        (["output={tmp}/full/config.json"], r"output=.*config\.json: .* is not a folder; expected: "),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, options: list[str], line: str) -> None:
    for name, kind in (("bert", "bert"), ("full", "whisper")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"model_type": kind}), encoding="utf-8")
    with pytest.raises(KidasrError, match=line):
        export(tmp_path / "out", "format=safetensors", *(one.format(tmp=tmp_path) for one in options))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "package"), [("ctranslate2", "ctranslate2"), ("onnx", "onnxscript")])
def test_a_missing_package_is_one_line(name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        KidasrError, match=rf"^format={name}: needs the package {package}; expected: pip install -e '\.\[export\]'$"
    ):
        export(tmp_path / "out", f"format={name}")


def test_formats_and_their_keys_are_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match=r"format\.quantization=int4: should be 'float32', "):
        export(tmp_path / "out", "format=ctranslate2", "format.quantization=int4")
    assert run_here(monkeypatch, "job=export", "format=ctranslate", f"hydra.run.dir={tmp_path / 'run'}") == 2
    assert "format=ctranslate: no such choice; expected: ctranslate2, onnx, safetensors" in capfd.readouterr().err


def test_a_stopped_export_leaves_nothing_that_looks_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("kidasr.model.whisper.Whisper.save_processor", full)
        with pytest.raises(KidasrError, match=r"out: the model could not be written: .*No space left.*are free"):
            export(tmp_path / "out", "format=safetensors")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))
    export(tmp_path / "out", "format=safetensors")


def real_clips(number: int) -> list[Utterance]:
    """Real children, of all speakers in turn."""
    rows = read_jsonl(KIDS / "dev.jsonl")
    paths = [str(KIDS / row["audio_path"]) for row in rows[:: len(rows) // number][:number]]
    return [Utterance.of_recording(path, path) for path in paths]


@real_data
@pytest.mark.real_data
def test_faster_whisper_says_the_same_words_of_real_children(tmp_path: Path) -> None:
    """With the options of docs/exporting.md, if the caller pads: it pads features with zeros, not silence."""
    from faster_whisper import WhisperModel

    out = export(tmp_path / "out", "format=ctranslate2", "format.quantization=float32", model=TINY_EN)
    engine, heard = WhisperModel(str(out), device="cpu", compute_type="float32", cpu_threads=1), real_clips(48)
    expected = words_of_kidasr(TINY_EN, heard)

    def same(pad: bool) -> int:
        texts = []
        for one in heard:
            samples = load_audio(one)
            segments, _ = engine.transcribe(
                np.pad(samples, (0, 30 * 16_000 - len(samples))) if pad else samples,
                language="en",
                beam_size=1,
                temperature=0,
                without_timestamps=True,
                condition_on_previous_text=False,
                compression_ratio_threshold=None,
                log_prob_threshold=None,
                no_speech_threshold=None,
            )
            texts.append(" ".join(segment.text.strip() for segment in segments))
        return sum(one == other for one, other in zip(texts, expected, strict=True))

    assert same(pad=True) == 48
    assert same(pad=False) < 40


@real_data
@pytest.mark.real_data
def test_a_pipeline_says_the_same_words_of_real_children(tmp_path: Path) -> None:
    from transformers import pipeline

    heard, expected = real_clips(24), words_of_kidasr(TINY_EN, real_clips(24))
    for dtype, at_least in (("float32", 24), ("float16", 22)):
        out = export(tmp_path / dtype, "format=safetensors", f"format.dtype={dtype}", model=TINY_EN)
        recognise: Any = pipeline("automatic-speech-recognition", str(out), device="cpu")
        texts = [recognise({"raw": load_audio(one), "sampling_rate": 16_000})["text"].strip() for one in heard]
        assert sum(one == other for one, other in zip(texts, expected, strict=True)) >= at_least, dtype


@real_data
@pytest.mark.real_data
def test_onnx_says_the_same_words_of_real_children(tmp_path: Path) -> None:
    out = export(tmp_path / "out", "format=onnx", model=TINY_EN)
    heard, recogniser = real_clips(12), PretrainedWhisper(str(TINY_EN), "en", "transcribe").load()
    dataset, tokenizer = ChildSpeechDataset(heard, recogniser), recogniser.processor.tokenizer
    prompt, expected = list(recogniser.prompt), words_of_kidasr(TINY_EN, heard)
    for place, words in enumerate(expected):
        features = dataset.example(place)["input_features"].numpy()
        tokens = greedy_with_onnx(out, features, prompt, tokenizer.eos_token_id, 200)
        assert tokenizer.decode(tokens, skip_special_tokens=True).strip() == words
