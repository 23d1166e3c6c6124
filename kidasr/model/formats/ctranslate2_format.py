"""CTranslate2 (https://github.com/OpenNMT/CTranslate2), the engine of faster-whisper."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kidasr.errors import KidasrError
from kidasr.model.formats.format import Format

if TYPE_CHECKING:
    from kidasr.model.whisper import Whisper

log = logging.getLogger(__name__)

#: Types of weights that CTranslate2 stores.
Quantization = Literal["float32", "float16", "bfloat16", "int16", "int8", "int8_float32", "int8_float16", "int8_bfloat16"]

#: What faster-whisper reads beside the files of CTranslate2.
BESIDE = ("tokenizer.json", "preprocessor_config.json")

#: faster-whisper pads every recording to so many seconds, whatever the model's window.
WINDOW_OF_FASTER_WHISPER_SEC = 30


class Ctranslate2(Format):
    """Writes what CTranslate2 and faster-whisper load, with CTranslate2's own converter.

    Args:
        quantization: Type of the stored weights. A program may choose another when it loads them (``compute_type``).
    """

    def __init__(self, quantization: Quantization):
        self.quantization = quantization

    def check(self) -> None:
        """See :meth:`Format.check`."""
        import_ctranslate2("format=ctranslate2")

    def write(self, whisper: Whisper, folder: Path) -> None:
        """See :meth:`Format.write`."""
        if whisper.window_sec != WINDOW_OF_FASTER_WHISPER_SEC:
            log.warning(
                "the model's window is %g s: CTranslate2 decodes with it, but faster-whisper takes windows of %d s alone",
                *(whisper.window_sec, WINDOW_OF_FASTER_WHISPER_SEC),
            )
        if unusual := unusual_settings(whisper):
            log.warning("generation settings that CTranslate2 does not store, and that its caller must give: %s", unusual)
        convert(whisper, folder, self.quantization)
        with tempfile.TemporaryDirectory(dir=folder) as aside:
            whisper.save_processor(Path(aside))
            for name in BESIDE:
                (Path(aside) / name).replace(folder / name)

    def describe(self) -> str:
        """See :meth:`Format.describe`."""
        return f"CTranslate2, {self.quantization} (faster-whisper)"


def import_ctranslate2(typed: str) -> Any:
    """The package.

    Args:
        typed: What the user typed that needs it, for the message.

    Raises:
        KidasrError: If it is not installed.
    """
    try:
        import ctranslate2
    except ImportError as error:
        raise KidasrError(f"{typed}: needs the package ctranslate2; expected: pip install -e '.[export]'") from error
    return ctranslate2


def unusual_settings(whisper: Whisper) -> str:
    """The generation settings of a checkpoint that CTranslate2 does not take from it; empty for a stock Whisper."""
    from kidasr.model.greedy import KNOWN

    generation = whisper.model.generation_config
    no_effect = generation._get_default_generation_params()
    found = [
        f"{name}={value}"
        for name, value in sorted(generation.to_diff_dict().items())
        if name not in KNOWN and value is not None and value is not False and value != no_effect.get(name)
    ]
    return ", ".join(found)


def convert(whisper: Whisper, folder: Path, quantization: str) -> None:
    """Write the files of CTranslate2: weights, vocabulary, and the tokens that are never chosen.

    Args:
        whisper: The model, which stays as it is.
        folder: An empty folder.
        quantization: Type of the stored weights.

    Raises:
        KidasrError: If the vocabulary has gaps, which the format does not have.
    """
    import torch
    from ctranslate2.converters.converter import Converter
    from ctranslate2.converters.transformers import WhisperLoader

    vocabulary = whisper.processor.tokenizer.get_vocab()
    if len(set(vocabulary.values())) != max(vocabulary.values()) + 1:
        raise KidasrError("the tokenizer's ids have gaps, which CTranslate2 would close; expected: a Whisper's tokenizer")

    class Loaded(Converter):
        """The converter of transformers' models, for one that is loaded and whose generation settings are put right."""

        def _load(self) -> Any:
            with torch.no_grad():
                spec = WhisperLoader()(whisper.model, whisper.processor.tokenizer)
            for name in ("suppress_ids", "suppress_ids_begin"):  # some checkpoints write null or -1 for no token
                setattr(spec.config, name, [token for token in getattr(spec.config, name) or [] if token >= 0])
            return spec

    Loaded().convert(str(folder), quantization=quantization, force=True)
