"""Loading a Whisper checkpoint."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, WhisperProcessor

from kidasr.errors import KidasrError
from kidasr.model.short_input import WhisperForConditionalGeneration

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Whisper:
    """A model with what goes before and after it."""

    model: WhisperForConditionalGeneration
    processor: WhisperProcessor
    #: Whether transcripts are English, and Whisper's English normalizer applies.
    is_english: bool

    @property
    def window_sec(self) -> float:
        """Length of audio that the encoder takes."""
        extractor = self.processor.feature_extractor
        return extractor.n_samples / extractor.sampling_rate


class PretrainedWhisper:
    """A checkpoint, by name; the arguments are the keys of the ``model`` group.

    Args:
        name_or_path: A folder, or a name on the Hugging Face hub.
        language, task: For a multilingual checkpoint; an English-only one has no such tokens.
    """

    def __init__(self, name_or_path: str, language: str, task: str):
        self.name_or_path, self.language, self.task = name_or_path, language, task

    def load(self) -> Whisper:
        """The model in float32, and its processor. Weights are read from safetensors only; no code of the checkpoint runs.

        Raises:
            KidasrError: If there is no such checkpoint, or it is no Whisper, or does not know the language.
        """
        name = self.name_or_path
        looks_local = name.startswith((".", "/", "~")) or name.count("/") > 1
        if name.startswith("~"):
            name = str(Path(name).expanduser())
        if looks_local and not Path(name).is_dir():
            raise KidasrError(
                f"model.name_or_path={name}: no such folder; accepted: a folder with a Whisper checkpoint, or a hub name"
            )
        try:
            config = AutoConfig.from_pretrained(name)
            if config.model_type != "whisper":
                raise KidasrError(f"model.name_or_path={name}: a {config.model_type} checkpoint; accepted: whisper")
            processor = WhisperProcessor.from_pretrained(name)
            # Checkpoints are often stored in half precision; training at 1e-5 would lose its updates there.
            model = WhisperForConditionalGeneration.from_pretrained(name, dtype=torch.float32, use_safetensors=True)
        except (OSError, ValueError, SafetensorError) as error:
            reason = " ".join(str(error).split())
            raise KidasrError(f"model.name_or_path={name}: can't be loaded: {reason}") from error
        if not processor.tokenizer.decode(processor.tokenizer("cat").input_ids, skip_special_tokens=True).strip():
            raise KidasrError(f"model.name_or_path={name}: its tokenizer can't spell; are the tokenizer's files there?")
        # Whisper's sinusoidal positions are fixed (transformers pull request 26032), but loading forgets the flag.
        model.get_encoder().embed_positions.requires_grad_(False)
        is_multilingual = getattr(model.generation_config, "is_multilingual", None)
        if is_multilingual is None:
            is_multilingual = config.vocab_size >= 51865
        if is_multilingual:
            self._set_language(model, processor)
        log.info("model: %s, %.1f M parameters", name, model.num_parameters() / 1e6)
        return Whisper(model, processor, is_english=not is_multilingual or self._writes_english)

    @property
    def _writes_english(self) -> bool:
        return self.task == "translate" or self.language.lower() in ("en", "english")

    def _set_language(self, model: WhisperForConditionalGeneration, processor: WhisperProcessor) -> None:
        try:
            processor.tokenizer.set_prefix_tokens(language=self.language, task=self.task)
            _ = processor.tokenizer.prefix_tokens  # looks the language up
        except ValueError as error:
            raise KidasrError(f"model.language={self.language}: {error}") from error
        model.generation_config.update(language=self.language, task=self.task, forced_decoder_ids=None)


def save_model(folder: Path, whisper: Whisper) -> None:
    """Write a plain Whisper checkpoint: model, generation settings, feature extractor, tokenizer and normalizer."""
    whisper.model.save_pretrained(folder)
    whisper.processor.save_pretrained(folder)
    # The tokenizer reads its normalizer's spellings from this file but does not write it; without it, WER of a model that
    # was fine-tuned once would be counted otherwise than before.
    spellings = whisper.processor.tokenizer.english_spelling_normalizer
    if spellings is not None:
        (folder / "normalizer.json").write_text(json.dumps(spellings, indent=2, ensure_ascii=False), encoding="utf-8")
