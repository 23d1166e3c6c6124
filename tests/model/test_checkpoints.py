"""Every kind of Whisper checkpoint: the prompt of its labels is the prompt it decodes with, and every size runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import WhisperForConditionalGeneration, pipeline

from kidasr.corpus.audio import SAMPLE_RATE_HZ
from kidasr.errors import KidasrError
from kidasr.features.log_mel import log_mel
from kidasr.model.pretrained import PretrainedWhisper
from kidasr.model.whisper import Whisper
from tests.conftest import job, read_json
from tests.model.random_whisper import SHAPES, Shape, edit_json, make_checkpoint, real_files

pytestmark = real_files

MULTILINGUAL, ENGLISH, V3 = Shape(1, 1), Shape(1, 1, is_english=True), Shape(1, 1, is_v3=True)

#: Generation configs as they are found: ``...`` stands for a key that is not there, None for no file at all.
MULTILINGUAL_CONFIGS: dict[str, dict[str, Any] | None] = {
    "as the library writes it": {},
    "of the hub": {"forced_decoder_ids": [[1, None], [2, 50359]]},
    "of a model fine-tuned on French": {"forced_decoder_ids": [[1, 50265], [2, 50359], [3, 50363]]},
    "of a model fine-tuned to translate Hindi": {"language": "hindi", "task": "translate"},
    "with timestamps": {"return_timestamps": True},
    "without what decides": dict.fromkeys(
        ("is_multilingual", "lang_to_id", "task_to_id", "no_timestamps_token_id", "max_length", "decoder_start_token_id"),
        ...,
    ),
    "no file": None,
}
ENGLISH_CONFIGS: dict[str, dict[str, Any] | None] = {
    "as the library writes it": {},
    "of the hub": {"forced_decoder_ids": [[1, 50362]]},
    "with languages": {"lang_to_id": {"<|en|>": 50258}, "language": "en", "task": "transcribe"},
    "without what decides": dict.fromkeys(("is_multilingual", "no_timestamps_token_id", "max_length"), ...),
    "no file": None,
}


def checkpoint(folder: Path, shape: Shape, generation: dict[str, Any] | None) -> Path:
    make_checkpoint(folder, shape, **(generation or {}))
    if generation is None:
        (folder / "generation_config.json").unlink()
        edit_json(folder / "config.json", {"forced_decoder_ids": [[1, 50265], [2, 50359]]})
    return folder


def samples() -> Any:
    return np.random.default_rng(1).normal(0, 0.1, 2 * SAMPLE_RATE_HZ).astype(np.float32)


def decoded(model: Any, features: torch.Tensor, **options: Any) -> tuple[list[int], list[int]]:
    """What the decoder is first given, and what is generated after it."""
    prompts = []
    handle = model.model.decoder.register_forward_pre_hook(
        lambda _, args, kwargs: prompts.append(kwargs["input_ids"][0].tolist()), with_kwargs=True
    )
    with torch.inference_mode():
        tokens = model.generate(features[None], **options)[0].tolist()
    handle.remove()
    return prompts[0], tokens


def prompt_names(whisper: Whisper) -> list[str]:
    """The prompt as it is decoded with, once it is clear that it is that of the labels."""
    features, _ = log_mel(samples(), whisper.processor.feature_extractor)
    prompt, _ = decoded(whisper.model.eval(), features, max_new_tokens=1)
    labels = whisper.processor.tokenizer("cat").input_ids
    assert labels[: len(prompt)] == prompt == list(whisper.prompt)
    assert whisper.processor.tokenizer.decode(labels[len(prompt) : -1]) == "cat", "nothing else is before the text"
    return list(whisper.processor.tokenizer.convert_ids_to_tokens(prompt))


@pytest.mark.parametrize("name", MULTILINGUAL_CONFIGS)
def test_a_multilingual_checkpoint_is_decoded_with_the_prompt_of_its_labels(tmp_path: Path, name: str) -> None:
    folder = checkpoint(tmp_path / "model", MULTILINGUAL, MULTILINGUAL_CONFIGS[name])
    whisper = PretrainedWhisper(str(folder), "German", "transcribe").load()
    assert prompt_names(whisper) == ["<|startoftranscript|>", "<|de|>", "<|transcribe|>", "<|notimestamps|>"]
    assert whisper.model.generation_config.max_length == 448, "else the Trainer takes 20"
    end = whisper.processor.tokenizer.eos_token_id
    assert end in whisper.model.generation_config.begin_suppress_tokens


@pytest.mark.parametrize("name", ENGLISH_CONFIGS)
def test_an_english_checkpoint_is_decoded_with_the_prompt_of_its_labels(tmp_path: Path, name: str) -> None:
    folder = checkpoint(tmp_path / "model", ENGLISH, ENGLISH_CONFIGS[name])
    edit_json(folder / "tokenizer_config.json", {"language": "en", "task": "transcribe"})  # as some are saved
    whisper = PretrainedWhisper(str(folder), "en", "transcribe").load()
    assert prompt_names(whisper) == ["<|startoftranscript|>", "<|notimestamps|>"]


def test_the_prompt_says_language_and_task(tmp_path: Path) -> None:
    old, new = make_checkpoint(tmp_path / "old", MULTILINGUAL), make_checkpoint(tmp_path / "new", V3)
    task: Any
    for folder, language, task, code, writes in (
        (old, "en", "transcribe", "en", "en"),
        (old, "mandarin", "transcribe", "zh", "zh"),
        (old, "de", "translate", "de", "en"),
        (new, "yue", "transcribe", "yue", "yue"),
        (new, "de", "translate", "de", "en"),
    ):
        whisper = PretrainedWhisper(str(folder), language, task).load()
        assert prompt_names(whisper) == ["<|startoftranscript|>", f"<|{code}|>", f"<|{task}|>", "<|notimestamps|>"]
        assert whisper.language == writes


def test_a_language_that_the_checkpoint_lacks_is_one_line(tmp_path: Path) -> None:
    old, english = make_checkpoint(tmp_path / "old", MULTILINGUAL), make_checkpoint(tmp_path / "english", ENGLISH)
    task: Any
    for folder, language, task, said in (
        (old, "klingon", "transcribe", "model.language=klingon: Whisper does not know this language; expected: af, am, ar"),
        (
            old,
            "yue",
            "transcribe",
            "model.language=yue model.task=transcribe: the checkpoint's tokenizer has no token <|yue|>",
        ),
        (
            english,
            "de",
            "transcribe",
            "model.language=de model.task=transcribe: the checkpoint is English-only; expected:",
        ),
        (
            english,
            "en",
            "translate",
            "model.language=en model.task=translate: the checkpoint is English-only; expected:",
        ),
    ):
        with pytest.raises(KidasrError) as raised:
            PretrainedWhisper(str(folder), language, task).load()
        assert str(raised.value).startswith(said) and "\n" not in str(raised.value)


@pytest.mark.parametrize(("shape", "language"), [(MULTILINGUAL, "de"), (ENGLISH, "en")], ids=["multilingual", "english"])
def test_a_stock_pipeline_says_the_words_of_the_saved_model(tmp_path: Path, shape: Shape, language: str) -> None:
    whisper = PretrainedWhisper(str(make_checkpoint(tmp_path / "model", shape)), language, "transcribe").load()
    whisper.model.generation_config.num_beams = 1  # as a run sets it
    features, _ = log_mel(samples(), whisper.processor.feature_extractor)
    prompt, tokens = decoded(whisper.model.eval(), features, max_new_tokens=20)
    whisper.save(tmp_path / "saved")

    stock = pipeline("automatic-speech-recognition", model=str(tmp_path / "saved"))
    assert type(stock.model) is WhisperForConditionalGeneration
    assert decoded(stock.model, features, max_new_tokens=20) == (prompt, tokens)
    said: Any = stock({"raw": samples(), "sampling_rate": SAMPLE_RATE_HZ}, generate_kwargs={"max_new_tokens": 20})
    assert said["text"] == whisper.processor.tokenizer.decode(tokens, skip_special_tokens=True) != ""
    again = PretrainedWhisper(str(tmp_path / "saved"), language, "transcribe").load()
    assert again.prompt == whisper.prompt


def test_a_checkpoint_without_spellings_is_scored_with_them(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "model", MULTILINGUAL)
    assert not (folder / "normalizer.json").exists()
    whisper = PretrainedWhisper(str(folder), "en", "transcribe").load()
    assert whisper.processor.tokenizer.normalize("colour") == "color"
    whisper.save(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "normalizer.json").read_text(encoding="utf-8"))["colour"] == "color"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in ("base", "distil-small.en", "large-v3-turbo") else pytest.mark.slow)
        for name in SHAPES
    ],
)
def test_every_size_trains_evaluates_and_is_saved(tmp_path: Path, name: str) -> None:
    shape = SHAPES[name]
    folder = make_checkpoint(
        tmp_path / "model", shape, forced_decoder_ids=None if shape.is_english else [[1, None], [2, 50359]]
    )
    short = ("debug=smoke", "trainer.max_steps=1", "data.limit_validation=2", "trainer.generation_max_length=8")
    run = tmp_path / "run"
    job(run, "experiment=all", "model=whisper", f"model.name_or_path={folder}", *short, "report=none").run()
    assert read_json(run / "metrics.json")["steps"] == 1
    saved = WhisperForConditionalGeneration.from_pretrained(run / "model")
    assert (saved.config.encoder_layers, saved.config.decoder_layers) == (shape.encoder_layers, shape.decoder_layers)
    assert (saved.config.num_mel_bins, saved.config.vocab_size) == (
        (128, 51866) if shape.is_v3 else (80, 51864 if shape.is_english else 51865)
    )
    assert getattr(saved.generation_config, "language", None) == (None if shape.is_english else "en")
    assert saved.generation_config.num_beams == 1, "else a pipeline takes five"
