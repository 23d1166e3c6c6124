"""Loading a Whisper checkpoint."""

import json
import logging
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, WhisperProcessor

from kidasr.corpus.audio import SAMPLE_RATE_HZ
from kidasr.errors import KidasrError, truncate
from kidasr.model.prompt import language_code, set_prompt
from kidasr.model.short_input import WhisperForConditionalGeneration

log = logging.getLogger(__name__)

#: No code of a checkpoint's runs, nor is the user asked whether it may.
SAFE: dict[str, Any] = {"trust_remote_code": False}


@dataclass(frozen=True)
class Whisper:
    """A model with what goes before and after it."""

    model: WhisperForConditionalGeneration
    processor: WhisperProcessor
    #: What transcripts are written in: ``"en"``, ``"de"``.
    language: str
    #: The tokens that every transcript begins with, in labels and in decoding.
    prompt: tuple[int, ...]

    @property
    def window_sec(self) -> float:
        """Length of audio that the encoder takes."""
        extractor = self.processor.feature_extractor
        return extractor.n_samples / extractor.sampling_rate


def load_whisper(name_or_path: str, language: str, task: str) -> Whisper:
    """Load a checkpoint: the model in float32, and its processor.

    Weights are read from safetensors only; no code of the checkpoint runs.

    Args:
        name_or_path: A folder, or a name on the Hugging Face hub.
        language, task: For the prompt: see :func:`kidasr.model.prompt.set_prompt`.

    Raises:
        KidasrError: If there is no such checkpoint, or it is no Whisper, or does not know the language.
    """
    name = name_or_path
    looks_local = name.startswith((".", "/", "~")) or name.count("/") > 1
    if name.startswith("~"):
        name = str(Path(name).expanduser())
    if looks_local and not Path(name).is_dir():
        raise KidasrError(
            f"model.name_or_path={name}: no such folder; expected: a folder with a Whisper checkpoint, or a hub name"
        )
    try:
        _check_files(Path(name))
        config = AutoConfig.from_pretrained(name, **SAFE)
        if config.model_type != "whisper":
            raise KidasrError(f"model.name_or_path={name}: a {config.model_type} checkpoint; expected: whisper")
        processor = WhisperProcessor.from_pretrained(name, **SAFE)
        model = _load_weights(name)
        _check_fit(model, processor)
    except _UnfitError as error:
        raise KidasrError(f"model.name_or_path={name}: {error}") from error
    except KidasrError:
        raise
    except Exception as error:  # what the library makes of a folder that is not as it should be can be anything
        reason = truncate(" ".join(str(error).split())) or type(error).__name__
        raise KidasrError(f"model.name_or_path={name}: can't be loaded: {reason}") from error
    if processor.tokenizer.english_spelling_normalizer is None:  # many checkpoints come without normalizer.json
        processor.tokenizer.english_spelling_normalizer = _spellings()
    if not processor.tokenizer.decode(processor.tokenizer("cat").input_ids, skip_special_tokens=True).strip():
        raise KidasrError(f"model.name_or_path={name}: its tokenizer can't spell; are the tokenizer's files there?")
    # Whisper's sinusoidal positions are fixed (transformers pull request 26032), but loading forgets the flag.
    model.get_encoder().embed_positions.requires_grad_(False)
    prompt = set_prompt(model, processor.tokenizer, language, task)
    words = "".join(processor.tokenizer.convert_ids_to_tokens(prompt))
    log.info("model: %s, %.1f M parameters, prompt %s", name, model.num_parameters() / 1e6, words)
    writes = "en" if task == "translate" else language_code(language)
    return Whisper(model, processor, writes, tuple(prompt))


def _spellings() -> dict[str, str]:
    """British and American spellings, as OpenAI's checkpoints have them in ``normalizer.json``."""
    spellings: dict[str, str] = json.loads((files("whisper_normalizer") / "normalizers" / "english.json").read_text("utf-8"))
    return spellings


class _UnfitError(Exception):
    """What is wrong with a checkpoint, without its name."""


def _check_files(folder: Path) -> None:
    """Of a checkpoint in a folder; a damaged file may else be passed over in silence, and the library's defaults taken."""
    for file in sorted(folder.glob("*.json")):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise _UnfitError(f"{file.name} is not JSON: {truncate(error)}") from error
        if not isinstance(content, dict):
            raise _UnfitError(f"{file.name} holds a {type(content).__name__}; expected: a JSON object, {{...}}")


def _load_weights(name: str) -> WhisperForConditionalGeneration:
    library = logging.getLogger("transformers.modeling_utils")
    library.addFilter(_no_report)
    try:
        # Checkpoints are often stored in half precision; training at 1e-5 would lose its updates there.
        loaded: Any = WhisperForConditionalGeneration.from_pretrained(
            name,
            dtype=torch.float32,
            use_safetensors=True,
            attn_implementation="sdpa",  # a config may name code on the hub
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **SAFE,
        )
    finally:
        library.removeFilter(_no_report)
    model: WhisperForConditionalGeneration = loaded[0]
    found: dict[str, Any] = loaded[1]
    for weight, stored, wanted in sorted(found["mismatched_keys"]):
        raise _UnfitError(f"{weight} has the shape {tuple(stored)}, but its config.json says {tuple(wanted)}")
    if missing := sorted(found["missing_keys"]):
        raise _UnfitError(f"{len(missing)} weights are missing, the first: {missing[0]}")
    if unused := sorted(found["unexpected_keys"]):
        log.warning("model: %d weights in %s are not of this model and not used, as %s", len(unused), name, unused[0])
    for weight, tensor in model.named_parameters():
        if not torch.isfinite(tensor).all():
            raise _UnfitError(f"{weight} holds values that are no numbers")
    return model


def _no_report(record: logging.LogRecord) -> bool:
    """Not the table of what does not fit, which is told in one line."""
    return "LOAD REPORT" not in record.getMessage()


def _check_fit(model: WhisperForConditionalGeneration, processor: WhisperProcessor) -> None:
    """Whether model, tokenizer and feature extractor are of one checkpoint."""
    config, tokenizer, extractor = model.config, processor.tokenizer, processor.feature_extractor
    fits: list[tuple[str, Any, str, Any]] = [
        ("the tokenizer's end of text", tokenizer.eos_token_id, "eos_token_id", config.eos_token_id),
        (
            "the tokenizer's start of transcript",
            tokenizer.convert_tokens_to_ids("<|startoftranscript|>"),
            "decoder_start_token_id",
            config.decoder_start_token_id,
        ),
        ("mel bins of the feature extractor", extractor.feature_size, "num_mel_bins", config.num_mel_bins),
        (
            "frames of the feature extractor",
            extractor.nb_max_frames,
            "2 max_source_positions",
            2 * config.max_source_positions,
        ),
    ]
    if extractor.sampling_rate != SAMPLE_RATE_HZ:
        raise _UnfitError(f"its feature extractor takes {extractor.sampling_rate} Hz; expected: {SAMPLE_RATE_HZ}")
    tokens = max(tokenizer.get_vocab().values()) + 1
    if tokens > config.vocab_size:
        raise _UnfitError(f"the tokenizer has {tokens} tokens, the model {config.vocab_size}; are they of one checkpoint?")
    generation = model.generation_config
    suppressed = max([*(generation.suppress_tokens or []), *(generation.begin_suppress_tokens or []), 0])
    if suppressed >= config.vocab_size:
        raise _UnfitError(f"generation_config.json suppresses token {suppressed}; the model has {config.vocab_size}")
    for what, has, key, wanted in fits:
        if has != wanted:
            raise _UnfitError(f"{what}: {has}; the model's {key}: {wanted}; are they of one checkpoint?")


def save_model(folder: Path, whisper: Whisper) -> None:
    """Write a plain Whisper checkpoint: model, generation settings, feature extractor, tokenizer and normalizer."""
    whisper.model.save_pretrained(folder)
    whisper.processor.save_pretrained(folder)
    # The tokenizer reads its normalizer's spellings from this file but does not write it.
    spellings = whisper.processor.tokenizer.english_spelling_normalizer
    (folder / "normalizer.json").write_text(json.dumps(spellings, indent=2, ensure_ascii=False), encoding="utf-8")
