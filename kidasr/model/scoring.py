"""How transcripts are scored: Whisper's own normalizers, without a model and without torch."""

import json
from importlib.resources import files

from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer
from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

from kidasr.errors import KidasrError, truncate
from kidasr.features.recogniser import Scoring

#: Languages written without spaces between words. Whisper's authors score Chinese, Japanese, Thai, Lao and Burmese by
#: character (Radford et al., 2022); Cantonese, Khmer and Tibetan are treated the same.
WITHOUT_SPACES = frozenset({"zh", "yue", "ja", "th", "lo", "my", "km", "bo"})


def scoring(language: str, spelled: dict[str, str] | None = None) -> Scoring:
    """Scoring with Whisper's own normalizer (Radford et al., 2022, appendix C): the English one or the basic one.

    For the languages in :data:`WITHOUT_SPACES`, the basic one separates all characters by spaces.

    Args:
        language: The language code of the transcripts.
        spelled: American spellings of British words; None for OpenAI's list.
    """
    if language == "en":
        return Scoring(EnglishTextNormalizer(spellings() if spelled is None else spelled), "WER")
    by_character = language in WITHOUT_SPACES
    return Scoring(BasicTextNormalizer(split_letters=by_character), "CER" if by_character else "WER")


def language_code(language: str, key: str = "model.language") -> str:
    """``"de"`` for ``"de"``, ``"German"`` or ``"german"``.

    Args:
        language: As typed.
        key: Its key, for the message.

    Raises:
        KidasrError: If Whisper does not know the language.
    """
    code = language.lower()
    code = TO_LANGUAGE_CODE.get(code, code)
    if code not in LANGUAGES:
        known = ", ".join(sorted(LANGUAGES))
        raise KidasrError(f"{key}={truncate(language)}: Whisper does not know this language; expected: {known}")
    return code


def spellings() -> dict[str, str]:
    """British and American spellings, the same as in ``normalizer.json`` of OpenAI's checkpoints."""
    found: dict[str, str] = json.loads((files("whisper_normalizer") / "normalizers" / "english.json").read_text("utf-8"))
    return found
