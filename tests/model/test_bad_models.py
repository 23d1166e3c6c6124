"""Each kind of checkpoint that can't be used has its line, and no code of a checkpoint's ever runs."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from kidasr.errors import KidasrError
from kidasr.model.attention import KIDASR
from kidasr.model.pretrained import PretrainedWhisper
from tests.bad_input import Row, assert_line
from tests.conftest import MICRO

Change = Callable[[Path], None]


def gone(*names: str) -> Change:
    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return change


def written(name: str, content: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).write_text(content, encoding="utf-8")

    return change


def with_keys(name: str, **keys: Any) -> Change:
    """Keys of a JSON file are changed."""

    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        (folder / name).write_text(json.dumps({**content, **keys}), encoding="utf-8")

    return change


def with_weights(edit: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    def change(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        edit(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    return change


def extractor_with(**keys: Any) -> Change:
    """In both files that may hold it."""

    def change(folder: Path) -> None:
        for name in ("preprocessor_config.json", "processor_config.json"):
            content = json.loads((folder / name).read_text(encoding="utf-8"))
            content.get("feature_extractor", content).update(keys)
            (folder / name).write_text(json.dumps(content), encoding="utf-8")

    return change


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


def cut(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])


def with_more_tokens(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    content["added_tokens"].append({**content["added_tokens"][0], "id": 415, "content": "<|more|>"})
    for number in range(264, 415):
        content["added_tokens"].insert(-1, {**content["added_tokens"][0], "id": number, "content": f"<|more {number}|>"})
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")


NORM = "model.decoder.layer_norm.weight"
CAN_NOT = "model.name_or_path=FILE: can't be loaded: "

#: What is done to a folder with a good checkpoint.
MODELS = {
    "no such folder": Row(
        shutil.rmtree,
        "model.name_or_path=FILE: no such folder; expected: a folder with a Whisper checkpoint, or a name on the Hub",
    ),
    "another model": Row(
        with_keys("config.json", model_type="bert"), "model.name_or_path=FILE: a bert checkpoint; expected: whisper"
    ),
    "no config.json": Row(gone("config.json"), f"{CAN_NOT}..."),
    "config.json damaged": Row(written("config.json", "{oops"), "model.name_or_path=FILE: config.json is not JSON: ..."),
    "generation_config.json damaged": Row(
        written("generation_config.json", "[]"),
        "model.name_or_path=FILE: generation_config.json holds a list; expected: a JSON object, {...}",
    ),
    "a generation_config.json of another model": Row(
        with_keys("generation_config.json", suppress_tokens=[1, 50361]),
        "model.name_or_path=FILE: generation_config.json suppresses token 50361; the model has 415",
    ),
    "a generation_config.json with wrong types": Row(
        with_keys("generation_config.json", begin_suppress_tokens=["a"]), f"{CAN_NOT}..."
    ),
    "a wrong type in config.json": Row(with_keys("config.json", d_model="wide"), f"{CAN_NOT}..."),
    "a negative size in config.json": Row(with_keys("config.json", d_model=-64), f"{CAN_NOT}..."),
    "weights of another size": Row(
        with_keys("config.json", d_model=64),
        "model.name_or_path=FILE: model.decoder.embed_positions.weight has the shape (64, 128), but its config.json says "
        "(64, 64)",
    ),
    "weights missing": Row(
        with_weights(lambda weights: weights.pop(NORM)),
        f"model.name_or_path=FILE: 1 weights are missing, the first: {NORM}",
    ),
    "layers missing": Row(
        with_keys("config.json", decoder_layers=3),
        "model.name_or_path=FILE: 24 weights are missing, the first: model.decoder.layers.2.encoder_attn.k_proj.weight",
    ),
    "NaN among the weights": Row(
        with_weights(lambda weights: weights.update({NORM: weights[NORM] * float("nan")})),
        f"model.name_or_path=FILE: {NORM} contains NaN or infinite values",
    ),
    "no weights": Row(gone("model.safetensors"), f"{CAN_NOT}...model.safetensors..."),
    "pickled weights": Row(pickled, f"{CAN_NOT}...model.safetensors..."),
    "weights cut short": Row(cut, f"{CAN_NOT}..."),
    "no tokenizer": Row(
        gone("tokenizer.json"),
        "model.name_or_path=FILE: ...tokenizer...",
    ),
    "a tokenizer with more tokens than the model": Row(
        with_more_tokens, "model.name_or_path=FILE: the tokenizer has 416 tokens, the model 415; do they belong together?"
    ),
    "a vocabulary smaller than the weights": Row(
        with_keys("config.json", vocab_size=100, pad_token_id=0, eos_token_id=1, bos_token_id=1),
        "model.name_or_path=FILE: model.decoder.embed_tokens.weight has the shape (415, 128), but its config.json says "
        "(100, 128)",
    ),
    "a tokenizer of another model": Row(
        with_keys("config.json", decoder_start_token_id=50257),
        "model.name_or_path=FILE: the tokenizer's start of transcript: 257; the model's decoder_start_token_id: 50257; do "
        "they belong together?",
    ),
    "a feature extractor with other mel bins": Row(
        extractor_with(feature_size=128),
        "model.name_or_path=FILE: mel bins of the feature extractor: 128; the model's num_mel_bins: 80; do they "
        "belong together?",
    ),
    "a feature extractor with another window": Row(
        extractor_with(chunk_length=30, n_samples=480_000, nb_max_frames=3000),
        "model.name_or_path=FILE: frames of the feature extractor: 3000; the model's 2 max_source_positions: 300; do they "
        "belong together?",
    ),
    "a feature extractor of 8 kHz": Row(
        extractor_with(sampling_rate=8000), "model.name_or_path=FILE: its feature extractor takes 8000 Hz; expected: 16000"
    ),
    "code of its own, for a model of its own": Row(
        with_keys("config.json", model_type="mine", auto_map={"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"}),
        f"{CAN_NOT}...",
    ),
    "code of its own, for Whisper": Row(
        with_keys("config.json", auto_map={"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"}), note="without that code"
    ),
    "an attention that is code on the hub": Row(
        with_keys("config.json", _attn_implementation="evil/kernel", attn_implementation="evil/kernel"),
        note="with PyTorch's own attention",
    ),
    "code of its own, for the tokenizer": Row(
        with_keys("tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", "evil.Evil"]}), note="without that code"
    ),
    "code of its own, for the processor": Row(
        with_keys("processor_config.json", auto_map={"AutoProcessor": "evil.Evil"}), note="without that code"
    ),
    "code of its own, for generating": Row(
        lambda folder: shutil.copytree(folder, folder / "custom_generate"), note="without that code"
    ),
    "no generation_config.json": Row(gone("generation_config.json"), note="with what the config says"),
    "layers too many": Row(with_keys("config.json", decoder_layers=1), note="a warning: the others are not used"),
}


def changed(tmp_path: Path, change: Change) -> Path:
    """A copy of the micro model, changed; its code would leave a trace."""
    folder = tmp_path / "model né"
    shutil.copytree(MICRO, folder)
    change(folder)
    if folder.exists():
        code = f"import pathlib\npathlib.Path({str(tmp_path / 'trace')!r}).touch()\nclass Evil: pass\n"
        for place in (folder / "evil.py", folder / "custom_generate" / "generate.py"):
            if place.parent.exists():
                place.write_text(code, encoding="utf-8")
    return folder


@pytest.mark.parametrize("row", MODELS.values(), ids=MODELS)
def test_a_checkpoint_is_used_or_refused_and_runs_no_code(
    tmp_path: Path, row: Row, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("builtins.input", lambda prompt: pytest.fail(f"asked: {prompt}"))
    folder = changed(tmp_path, row.given)
    try:
        whisper = PretrainedWhisper(str(folder), "en", "transcribe").load()
    except KidasrError as error:
        assert row.line is not None, error
        assert_line(str(error), row.line, folder)
    else:
        assert row.line is None, "refused"
        assert whisper.model.config._attn_implementation == KIDASR
        tokens: Any = whisper.model.generate(torch.zeros(1, 80, 300), max_new_tokens=2)
        assert tokens.shape[0] == 1
        warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert any("not used, e.g. model.decoder.layers.1" in one for one in warnings) == (row.note[:2] == "a ")
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "a/b/c"])
def test_a_missing_folder_is_one_line(name: str) -> None:
    with pytest.raises(KidasrError, match=f"^model.name_or_path={name}: no such folder; expected: [^\n]*$"):
        PretrainedWhisper(name, "en", "transcribe").load()
