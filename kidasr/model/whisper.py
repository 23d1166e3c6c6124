"""Loading a Whisper checkpoint."""

import json
import logging
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, StoppingCriteria, StoppingCriteriaList, WhisperProcessor
from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

from kidasr.batching.collator import PaddedBatch
from kidasr.corpus.audio import SAMPLE_RATE_HZ, Samples
from kidasr.errors import KidasrError, truncate
from kidasr.features.log_mel import log_mel
from kidasr.features.padding import Padding
from kidasr.features.recogniser import Batch, Component, Fallback, Recogniser, Scoring
from kidasr.model.age_groups import AGE_GROUPS
from kidasr.model.age_lora import AGE_ADAPTERS
from kidasr.model.attention import KIDASR
from kidasr.model.components import components
from kidasr.model.fallback import drawn_tokens, is_bad, is_silence, judge
from kidasr.model.greedy import Encoded, encode, greedy_tokens, is_plain
from kidasr.model.prompt import language_code, set_prompt
from kidasr.model.short_input import WhisperForConditionalGeneration
from kidasr.runs.files import MODEL

log = logging.getLogger(__name__)

#: Never execute code from a checkpoint, and never ask the user to allow it.
SAFE: dict[str, Any] = {"trust_remote_code": False}


#: Languages written without spaces between words. Whisper's authors score Chinese, Japanese, Thai, Lao and Burmese by
#: character (Radford et al., 2022); Cantonese, Khmer and Tibetan are treated the same.
WITHOUT_SPACES = frozenset({"zh", "yue", "ja", "th", "lo", "my", "km", "bo"})


class Whisper(Recogniser):
    """A Whisper checkpoint.

    Args:
        model: The model, for input of any length up to its window.
        processor: Its feature extractor and tokenizer.
        language: The language code of the transcripts: ``"en"``, ``"de"``.
        prompt: The tokens at the start of every transcript, in labels and in decoding.
    """

    model: WhisperForConditionalGeneration
    language: str
    takes_keys = True
    gives_token_logits = True
    has_fallback = True

    def __init__(
        self, model: WhisperForConditionalGeneration, processor: WhisperProcessor, language: str, prompt: Sequence[int]
    ):
        self.model, self.processor, self.language, self.prompt = model, processor, language, tuple(prompt)
        extractor = processor.feature_extractor
        self.window_sec = extractor.n_samples / extractor.sampling_rate
        self.mel_bins = extractor.feature_size
        self.features_made_by = extractor.to_json_string()
        self.encoding_bytes_per_sec = round(model.config.max_source_positions / self.window_sec) * model.config.d_model * 4
        self.max_tokens = model.config.max_target_positions

    def features(self, samples: Samples, padding: Padding) -> tuple[torch.Tensor, int]:
        """Log-mel features from transformers' feature extractor."""
        return log_mel(samples, self.processor.feature_extractor, padding)

    def labels(self, text: str) -> list[int]:
        """Whisper's prompt, the text, and the end-of-text token."""
        ids: list[int] = self.processor.tokenizer(text, verbose=False).input_ids
        return ids

    def collate(self, features: Sequence[torch.Tensor], labels: Sequence[list[int]], padding: Padding) -> Batch:
        """See :class:`kidasr.batching.collator.PaddedBatch`."""
        return PaddedBatch(self.model.config.decoder_start_token_id, padding.mask)(features, labels)

    def transcribe(self, batch: Batch, max_tokens: Sequence[int], num_beams: int) -> list[str]:
        """Decode. A transcript ends at its own token limit or where the model ends it.

        Greedy decoding is :mod:`kidasr.model.greedy`; beam search, and checkpoints with unusual generation settings, are
        transformers' ``generate``.
        """
        return self._texts(self._rows(batch, self._bounds(max_tokens), num_beams))

    def transcribe_with_fallback(
        self, batch: Batch, max_tokens: Sequence[int], num_beams: int, fallback: Fallback, utterances: Sequence[str]
    ) -> list[str]:
        """See :mod:`kidasr.model.fallback`. At temperatures above 0, one transcript is drawn, whatever the beam size."""
        if not is_plain(self.model.generation_config):
            raise KidasrError(
                "trainer.generation_temperatures: not with this checkpoint, whose generation_config.json has rules of its "
                "own; expected: [0.0]"
            )
        bounds = self._bounds(max_tokens)
        inputs = (batch["input_features"], batch.get("frame_mask"), batch.get("keys"), batch.get(AGE_GROUPS))
        encoded = encode(self.model, *inputs)
        left = list(range(len(bounds)))
        texts = [""] * len(bounds)
        for temperature in fallback.temperatures:
            those, some, names = encoded.of(left), [bounds[one] for one in left], [utterances[one] for one in left]
            if temperature:
                rows = drawn_tokens(self.model, those, self.prompt, some, temperature, fallback, names)
            else:
                rows = self._rows(batch, bounds, num_beams, encoded)
            judged = judge(self.model, those, self.prompt, some, rows)
            bad = []
            for place, text, one in zip(left, self._texts(rows), judged, strict=True):
                texts[place] = "" if is_silence(one, fallback) else text
                if is_bad(text, one, fallback):
                    bad.append(place)
            left = bad
            if not left:
                break
        return texts

    def _bounds(self, max_tokens: Sequence[int]) -> list[int]:
        longest = self.model.generation_config.max_length or self.max_tokens
        room = min(longest, self.max_tokens) - len(self.prompt)
        return [min(bound, room) for bound in max_tokens]

    def _texts(self, rows: Sequence[Sequence[int]]) -> list[str]:
        return [text.strip() for text in self.processor.tokenizer.batch_decode(rows, skip_special_tokens=True)]

    def _rows(self, batch: Batch, bounds: Sequence[int], num_beams: int, encoded: Encoded | None = None) -> list[list[int]]:
        """The tokens of each transcript, up to the end of text."""
        inputs = {name: batch[name] for name in ("input_features", "frame_mask", AGE_GROUPS) if name in batch}
        if num_beams == 1 and is_plain(self.model.generation_config):
            if encoded is None:
                encoded = encode(
                    *(self.model, inputs["input_features"], inputs.get("frame_mask"), batch.get("keys")),
                    age_groups=inputs.get(AGE_GROUPS),
                )
            return greedy_tokens(self.model, encoded, self.prompt, bounds)
        tokens = self.model.generate(
            **inputs,
            num_beams=num_beams,
            max_length=None,
            max_new_tokens=max(bounds),
            # Not with beam search, where all hypotheses of an utterance must keep the same length.
            stopping_criteria=StoppingCriteriaList([TokenBounds(bounds, len(self.prompt))] if num_beams == 1 else []),
        )
        rows = [row[:bound] for row, bound in zip(tokens.tolist(), bounds, strict=True)]
        end = self.model.generation_config.eos_token_id
        return [row[: row.index(end)] if end in row else row for row in rows]

    @property
    def scoring(self) -> Scoring:
        """See :func:`scoring`."""
        return scoring(self.language, self.processor.tokenizer.english_spelling_normalizer)

    def save(self, folder: Path, num_beams: int = 1) -> None:
        """Save a plain Whisper checkpoint: model, generation settings, feature extractor, tokenizer and normalizer."""
        self.model.generation_config.num_beams = num_beams  # otherwise transformers' pipeline uses five
        self.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)
        # As part of the processor, the feature extractor no longer has the file that converters and older tools read.
        self.processor.feature_extractor.save_pretrained(folder)
        # The tokenizer reads its normalizer's spellings from this file but does not write it.
        spellings = self.processor.tokenizer.english_spelling_normalizer
        (folder / "normalizer.json").write_text(json.dumps(spellings, indent=2, ensure_ascii=False), encoding="utf-8")

    def control_tokens(self) -> Sequence[str]:
        """All added tokens: those that are not part of ordinary text."""
        return list(self.processor.tokenizer.get_added_vocab())

    def components(self) -> list[Component]:
        """Encoder, decoder, positional tables and embedding."""
        return components(self.model)


def scoring(language: str, spellings: dict[str, str] | None = None) -> Scoring:
    """Scoring with Whisper's own normalizer (Radford et al., 2022, appendix C): the English one or the basic one.

    For the languages in :data:`WITHOUT_SPACES`, the basic one separates all characters by spaces.

    Args:
        language: The language code of the transcripts.
        spellings: American spellings of British words; None for OpenAI's list.
    """
    if language == "en":
        return Scoring(EnglishTextNormalizer(_spellings() if spellings is None else spellings), "WER")
    by_character = language in WITHOUT_SPACES
    return Scoring(BasicTextNormalizer(split_letters=by_character), "CER" if by_character else "WER")


class TokenBounds(StoppingCriteria):
    """Ends each transcript of a batch at its own token limit.

    Args:
        bounds: Maximum number of new tokens of each transcript.
        prompt_length: Number of tokens in the prompt.
    """

    def __init__(self, bounds: Sequence[int], prompt_length: int):
        self.lengths = torch.tensor(bounds) + prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """Whether each transcript ends here, shape ``(batch,)``."""
        return input_ids.shape[1] >= self.lengths.to(input_ids.device)


def load_whisper(name_or_path: str, language: str, task: str) -> Whisper:
    """Load a checkpoint: the model in float32, and its processor.

    Weights are read from safetensors only. Code in the checkpoint is never executed.

    Args:
        name_or_path: A folder, or a name on the Hugging Face Hub.
        language, task: See :func:`kidasr.model.prompt.set_prompt`.

    Raises:
        KidasrError: If the checkpoint does not exist, is not a Whisper, or does not know the language.
    """
    name = name_or_path
    looks_local = name.startswith((".", "/", "~")) or name.count("/") > 1
    if name.startswith("~"):
        name = str(Path(name).expanduser())
    if looks_local and not Path(name).is_dir():
        raise KidasrError(
            f"model.name_or_path={name}: no such folder; expected: a folder with a Whisper checkpoint, or a name on the Hub"
        )
    if (Path(name) / MODEL / "config.json").is_file() and not (Path(name) / "model.safetensors").is_file():
        raise KidasrError(f"model.name_or_path={name}: the folder of a run; expected: its model, {Path(name) / MODEL}")
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
    except Exception as error:  # transformers can raise anything for a malformed checkpoint
        reason = truncate(" ".join(str(error).split())) or type(error).__name__
        raise KidasrError(f"model.name_or_path={name}: can't be loaded: {reason}") from error
    if processor.tokenizer.english_spelling_normalizer is None:  # many checkpoints have no normalizer.json
        processor.tokenizer.english_spelling_normalizer = _spellings()
    if not processor.tokenizer.decode(processor.tokenizer("cat").input_ids, skip_special_tokens=True).strip():
        raise KidasrError(f"model.name_or_path={name}: its tokenizer can't encode text; are the tokenizer's files missing?")
    # Whisper's sinusoidal positions are fixed (transformers pull request 26032), but loading forgets the flag.
    model.get_encoder().embed_positions.requires_grad_(False)
    if (Path(name) / AGE_ADAPTERS).is_dir():
        log.warning(
            "model.name_or_path=%s: its adapters for age groups (%s) are not used; this is the model for unknown ages",
            *(name, AGE_ADAPTERS),
        )
    prompt = set_prompt(model, processor.tokenizer, language, task)
    words = "".join(processor.tokenizer.convert_ids_to_tokens(prompt))
    log.info("model: %s, %.1f M parameters, prompt %s", name, model.num_parameters() / 1e6, words)
    writes = "en" if task == "translate" else language_code(language)
    return Whisper(model, processor, writes, prompt)


def _spellings() -> dict[str, str]:
    """British and American spellings, the same as in ``normalizer.json`` of OpenAI's checkpoints."""
    spellings: dict[str, str] = json.loads((files("whisper_normalizer") / "normalizers" / "english.json").read_text("utf-8"))
    return spellings


class _UnfitError(Exception):
    """A problem with a checkpoint; the message does not contain its name."""


def _check_files(folder: Path) -> None:
    """Check a checkpoint's JSON files. transformers may silently replace a damaged one by its defaults."""
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
        # Checkpoints are often stored in half precision, where updates at a learning rate of 1e-5 would be lost.
        loaded: Any = WhisperForConditionalGeneration.from_pretrained(
            name,
            dtype=torch.float32,
            use_safetensors=True,
            attn_implementation=KIDASR,  # a config may name code on the Hub
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
        log.warning(
            "model: %d weights in %s do not belong to this model and are not used, e.g. %s", len(unused), name, unused[0]
        )
    for weight, tensor in model.named_parameters():
        if not torch.isfinite(tensor).all():
            raise _UnfitError(f"{weight} contains NaN or infinite values")
    return model


def _no_report(record: logging.LogRecord) -> bool:
    """Drop transformers' table of mismatched weights, which is reported here in one line."""
    return "LOAD REPORT" not in record.getMessage()


def _check_fit(model: WhisperForConditionalGeneration, processor: WhisperProcessor) -> None:
    """Check that model, tokenizer and feature extractor belong together."""
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
        raise _UnfitError(f"the tokenizer has {tokens} tokens, the model {config.vocab_size}; do they belong together?")
    generation = model.generation_config
    suppressed = max([*(generation.suppress_tokens or []), *(generation.begin_suppress_tokens or []), 0])
    if suppressed >= config.vocab_size:
        raise _UnfitError(f"generation_config.json suppresses token {suppressed}; the model has {config.vocab_size}")
    for what, has, key, wanted in fits:
        if has != wanted:
            raise _UnfitError(f"{what}: {has}; the model's {key}: {wanted}; do they belong together?")
