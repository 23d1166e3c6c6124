"""Whisper checkpoints of every shape, with random weights and few of them, around real tokenizer and generation files."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

from tests.conftest import SHARED, TINY_EN

BASE_FILES = SHARED / "models" / "whisper-base-files"

real_files = pytest.mark.skipif(
    not (BASE_FILES.is_dir() and TINY_EN.is_dir()),
    reason="real tokenizer files are not here: ../shared/models/whisper-base-files, ../shared/models/whisper-tiny.en",
)

#: Wide enough for two heads.
WIDTH = 16


@dataclass(frozen=True)
class Shape:
    """What differs between checkpoints, beside their width."""

    encoder_layers: int
    decoder_layers: int
    is_english: bool = False
    #: Whether it has 128 mel bins and Cantonese, as large-v3 and what was made from it.
    is_v3: bool = False


SHAPES = {
    "base": Shape(6, 6),
    "medium.en": Shape(24, 24, is_english=True),
    "large-v2": Shape(32, 32),
    "large-v3": Shape(32, 32, is_v3=True),
    "large-v3-turbo": Shape(32, 4, is_v3=True),
    "distil-small.en": Shape(12, 4, is_english=True),
    "distil-large-v3": Shape(32, 2, is_v3=True),
}


def make_checkpoint(folder: Path, shape: Shape, **generation: Any) -> Path:
    """A checkpoint; ``generation`` changes keys of ``generation_config.json``, and takes out those that are ``...``."""
    source = TINY_EN if shape.is_english else BASE_FILES
    folder.mkdir()
    for path in source.glob("*.json"):
        shutil.copyfile(path, folder / path.name)
    if shape.is_v3:
        _make_v3(folder)
    config = WhisperConfig.from_pretrained(folder)
    config.update(
        {
            "d_model": WIDTH,
            "encoder_layers": shape.encoder_layers,
            "decoder_layers": shape.decoder_layers,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": WIDTH,
            "decoder_ffn_dim": WIDTH,
        }
    )
    torch.manual_seed(1)
    model = WhisperForConditionalGeneration(config)
    model.save_pretrained(folder, safe_serialization=True)
    edit_json(folder / "generation_config.json", json.loads((source / "generation_config.json").read_text(encoding="utf-8")))
    if shape.is_v3:
        edit_json(folder / "generation_config.json", _shifted(folder))
    edit_json(folder / "generation_config.json", generation)
    return folder


def edit_json(path: Path, keys: Mapping[str, Any]) -> None:
    """Change keys of a JSON file; those that are ``...`` are taken out."""
    content = {**json.loads(path.read_text(encoding="utf-8")), **keys}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}), encoding="utf-8")


#: Where large-v3 has Cantonese; every token from here on comes one later.
YUE = 50358


def _make_v3(folder: Path) -> None:
    """What is new in large-v3: 128 mel bins, a token for Cantonese, and so a vocabulary of one more."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    added = [{**token, "id": token["id"] + (token["id"] >= YUE)} for token in tokenizer["added_tokens"]]
    cantonese = {**next(token for token in added if token["content"] == "<|su|>"), "id": YUE, "content": "<|yue|>"}
    edit_json(folder / "tokenizer.json", {"added_tokens": sorted([*added, cantonese], key=lambda token: token["id"])})
    extra = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))["extra_special_tokens"]
    edit_json(folder / "tokenizer_config.json", {"extra_special_tokens": [*extra, "<|yue|>"]})
    for name in ("vocab.json", "merges.txt", "added_tokens.json"):  # the old tokenizer's, which tokenizer.json replaces
        (folder / name).unlink(missing_ok=True)
    edit_json(folder / "preprocessor_config.json", {"feature_size": 128})
    processor = json.loads((folder / "processor_config.json").read_text(encoding="utf-8"))
    edit_json(
        folder / "processor_config.json", {"feature_extractor": {**processor["feature_extractor"], "feature_size": 128}}
    )
    edit_json(folder / "config.json", {"vocab_size": 51866, "num_mel_bins": 128})


def _shifted(folder: Path) -> dict[str, Any]:
    """The generation config with the ids of large-v3's tokens."""
    content = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))

    def later(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: later(one) for key, one in value.items()}
        if isinstance(value, list):
            return [later(one) for one in value]
        return value + 1 if isinstance(value, int) and not isinstance(value, bool) and value >= YUE else value

    return {**later(content), "lang_to_id": {**later(content["lang_to_id"]), "<|yue|>": YUE}}
