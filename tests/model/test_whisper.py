from pathlib import Path

import pytest
import torch
from transformers import WhisperProcessor, pipeline

from kidasr.errors import KidasrError
from kidasr.model.pretrained import PretrainedWhisper
from kidasr.model.whisper import save_model
from tests.conftest import MICRO, TINY_EN, real_data


def load(name: Path | str) -> PretrainedWhisper:
    return PretrainedWhisper(str(name), "en", "transcribe")


def test_weights_are_float32_whatever_the_file_holds() -> None:
    whisper = load(MICRO).load()
    assert {parameter.dtype for parameter in whisper.model.parameters()} == {torch.float32}
    assert whisper.language == "en" and whisper.window_sec == 3


def test_the_encoders_positions_are_fixed_as_whisper_defines_them() -> None:
    fixed = [name for name, parameter in load(MICRO).load().model.named_parameters() if not parameter.requires_grad]
    assert fixed == ["model.encoder.embed_positions.weight"]


@real_data
def test_the_real_checkpoint_keeps_its_normalizer_when_it_is_saved(tmp_path: Path) -> None:
    whisper = load(TINY_EN).load()
    save_model(tmp_path, whisper)
    again = WhisperProcessor.from_pretrained(tmp_path)
    assert again.tokenizer.english_spelling_normalizer == whisper.processor.tokenizer.english_spelling_normalizer
    assert again.tokenizer.normalize("colour") == "color"
    assert pipeline("automatic-speech-recognition", model=str(tmp_path)).model.num_parameters() == 37_760_256
    assert not list(tmp_path.glob("*.bin")), "nothing pickled"


def test_a_name_that_no_hub_answers_for_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # as with HF_HUB_OFFLINE=1, but not waiting
    with pytest.raises(KidasrError, match=r"^model\.name_or_path=nobody/nothing: can't be loaded: [^\n]*$"):
        load("nobody/nothing").load()
