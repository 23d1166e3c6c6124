"""The prompt: the tokens at the start of a transcript, the same in labels and in decoding.

A multilingual Whisper expects ``<|startoftranscript|><|de|><|transcribe|><|notimestamps|>``, an English-only one
``<|startoftranscript|><|notimestamps|>``. The tokenizer adds these to each label. ``generate`` builds them from the
generation config, which checkpoints fill in differently or not at all (``forced_decoder_ids``, ``language``, ``task``,
``lang_to_id``). Here the tokenizer decides, and the generation config is changed to agree.
"""

from typing import Any

from transformers import PreTrainedModel, WhisperTokenizer
from transformers.models.whisper.tokenization_whisper import LANGUAGES, TASK_IDS

from kidasr.errors import KidasrError
from kidasr.model.scoring import language_code

#: Smallest vocabulary of OpenAI's multilingual checkpoints; English-only ones have one token less.
MULTILINGUAL_VOCABULARY = 51865


def is_multilingual(model: PreTrainedModel) -> bool:
    """Whether the prompt has a language and a task: from the generation config, or else from the vocabulary size."""
    known: bool | None = getattr(model.generation_config, "is_multilingual", None)
    return model.config.vocab_size >= MULTILINGUAL_VOCABULARY if known is None else known


def set_prompt(model: PreTrainedModel, tokenizer: WhisperTokenizer, language: str, task: str) -> list[int]:
    """Make labels and ``generate`` start with the same tokens. The settings are saved with the model.

    Args:
        model: The model, whose generation config is changed.
        tokenizer: The tokenizer, whose prefix is changed.
        language, task: The spoken language, and whether to transcribe it or translate it into English.

    Returns:
        The prompt.

    Raises:
        KidasrError: If the checkpoint does not know the language or the task.
    """
    code, multilingual = language_code(language), is_multilingual(model)
    asked = f"model.language={language} model.task={task}"
    if not multilingual and (code, task) != ("en", "transcribe"):
        raise KidasrError(
            f"{asked}: the checkpoint is English-only; expected: model.language=en "
            "model.task=transcribe, or a multilingual checkpoint (its name does not end in .en)"
        )
    names = ["<|startoftranscript|>", *([f"<|{code}|>", f"<|{task}|>"] if multilingual else []), "<|notimestamps|>"]
    vocabulary = tokenizer.get_vocab()
    if unknown := [name for name in names if name not in vocabulary]:
        raise KidasrError(f"{asked}: the checkpoint's tokenizer has no token {unknown[0]}")
    prompt = [vocabulary[name] for name in names]
    tokenizer.language, tokenizer.task = (code, task) if multilingual else (None, None)
    tokenizer.set_prefix_tokens(predict_timestamps=False)
    if tokenizer.prefix_tokens != prompt:  # transformers derives ids from the order of its language list, not from names
        raise KidasrError(
            f"{asked}: the checkpoint's tokenizer starts with {tokenizer.convert_ids_to_tokens(tokenizer.prefix_tokens)}; "
            f"expected: {names}"
        )
    generation: Any = model.generation_config
    generation.is_multilingual = multilingual
    generation.decoder_start_token_id = prompt[0]
    generation.no_timestamps_token_id = prompt[-1]
    generation.return_timestamps = False
    generation.forced_decoder_ids = model.config.forced_decoder_ids = None
    generation.language, generation.task = tokenizer.language, tokenizer.task
    for name in ("lang_to_id", "task_to_id"):
        if hasattr(generation, name):
            delattr(generation, name)  # with lang_to_id, an English-only checkpoint would try to detect the language
    if multilingual:
        of_language = {f"<|{known}|>" for known in LANGUAGES}
        generation.lang_to_id = {name: vocabulary[name] for name in sorted(of_language & vocabulary.keys())}
        generation.task_to_id = {name: vocabulary[f"<|{name}|>"] for name in TASK_IDS if f"<|{name}|>" in vocabulary}
    if generation._from_model_config:  # no generation_config.json, and config.json has GPT-2's end of text
        generation.begin_suppress_tokens = [tokenizer.encode(" ", add_special_tokens=False)[0], tokenizer.eos_token_id]
        generation._from_model_config = False
    if generation.max_length is None:
        generation.max_length = model.config.max_target_positions  # otherwise transformers' default of 20 applies
    return prompt
