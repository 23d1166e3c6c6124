"""The limits of a checkpoint on this machine, without its weights and without a download."""

from pathlib import Path

from kidasr.corpus.checks.vocabulary import Vocabulary, estimated
from kidasr.errors import KidasrError, truncate
from kidasr.model.pretrained import Pretrained, PretrainedWhisper


def vocabulary_of(model: Pretrained) -> Vocabulary:
    """The window and the tokens of a Whisper checkpoint, or Whisper's own with an estimate if it is not on this machine.

    Args:
        model: The ``model`` group. A folder is read; a name on the Hub only if it is in the cache.

    Raises:
        KidasrError: If the folder holds no Whisper.
    """
    if not isinstance(model, PretrainedWhisper):
        return estimated("check.model=true takes those of this recogniser")
    name = str(Path(model.name_or_path).expanduser()) if model.name_or_path.startswith("~") else model.name_or_path
    if not Path(name).is_dir() and not _is_cached(name):
        return estimated(f"{name} is not on this machine")
    from transformers import AutoConfig, WhisperProcessor  # slow to import

    from kidasr.model.prompt import MULTILINGUAL_VOCABULARY
    from kidasr.model.whisper import SAFE

    try:
        config = AutoConfig.from_pretrained(name, local_files_only=True, **SAFE)
        processor = WhisperProcessor.from_pretrained(name, local_files_only=True, **SAFE)
        extractor, tokenizer = processor.feature_extractor, processor.tokenizer
        window_sec = extractor.n_samples / extractor.sampling_rate
        max_tokens = config.max_target_positions
    except Exception as error:  # transformers can raise anything for a malformed checkpoint
        reason = truncate(" ".join(str(error).split())) or type(error).__name__
        raise KidasrError(f"model.name_or_path={name}: can't be read: {reason}; expected: a Whisper checkpoint") from error
    around = 5 if config.vocab_size >= MULTILINGUAL_VOCABULARY else 3  # see kidasr.model.prompt; and the end
    return Vocabulary(
        f"the tokenizer of {name}",
        window_sec,
        max_tokens,
        lambda text: len(tokenizer(text, add_special_tokens=False, verbose=False).input_ids) + around,
        list(tokenizer.get_added_vocab()),
    )


def _is_cached(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    try:
        return all(
            isinstance(try_to_load_from_cache(name, file), str) for file in ("config.json", "preprocessor_config.json")
        )
    except ValueError:  # not a name on the Hub
        return False
