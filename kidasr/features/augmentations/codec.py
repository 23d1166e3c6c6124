"""Codecs: telephones, and compressed recordings."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from kidasr.config.schema import Fraction
from kidasr.features.augment import Draw, WaveformAugmentation, share_of
from kidasr.features.augmentations.level import within_full_scale

if TYPE_CHECKING:
    from kidasr.corpus.audio import Samples

Name = Literal["mu_law", "gsm", "mp3"]


class Format(NamedTuple):
    """How libsndfile encodes with a codec."""

    rate_hz: int
    options: dict[str, Any]
    #: Samples by which what is decoded comes late.
    delay: int = 0


CODECS = {
    "mu_law": Format(8_000, {"format": "WAV", "subtype": "ULAW"}),
    "gsm": Format(8_000, {"format": "WAV", "subtype": "GSM610"}),
    "mp3": Format(16_000, {"format": "MP3", "bitrate_mode": "CONSTANT", "compression_level": 0.85}, 1105),
}


class Codec(WaveformAugmentation):
    """Encodes and decodes an utterance, by libsndfile.

    Args:
        codecs: The codecs to draw from. ``mu_law``: a landline (G.711: 8 kHz, 8 bits). ``gsm``: a mobile phone (GSM 06.10:
            8 kHz, 13 kbit/s). ``mp3``: MP3 at 32 kbit/s.
        p: Share of the utterances that are encoded.
    """

    def __init__(self, codecs: Annotated[list[Name], Field(min_length=1)], p: Fraction):
        self.codecs, self.p = codecs, p

    def __call__(self, samples: Samples, draw: Draw) -> Samples:
        """Encode and decode; the number of samples stays."""
        codec = self._codec(draw)
        return samples if codec is None else encoded(samples, codec)

    def _codec(self, draw: Draw) -> str | None:
        rng = draw.generator("codec")
        return str(self.codecs[rng.integers(len(self.codecs))]) if rng.random() < self.p else None

    def drawn(self, draw: Draw) -> Mapping[str, object] | None:
        """The codec."""
        codec = self._codec(draw)
        return None if codec is None else {"codec": codec}

    def describe(self) -> str:
        """The codecs, and how many utterances they change."""
        return f"{', '.join(self.codecs)}, {share_of(self.p)}"


def encoded(samples: Samples, codec: str) -> Samples:
    """Samples after encoding and decoding, as many as before."""
    import soundfile
    import torch
    from torchaudio.functional import resample

    from kidasr.corpus.audio import SAMPLE_RATE_HZ

    how, file = CODECS[codec], io.BytesIO()
    sent = resample(torch.from_numpy(within_full_scale(samples)), SAMPLE_RATE_HZ, how.rate_hz).numpy()
    soundfile.write(file, np.pad(sent, (0, how.delay)), how.rate_hz, **how.options)
    file.seek(0)
    received = soundfile.read(file, dtype="float32")[0][how.delay :]
    back = resample(torch.from_numpy(received), how.rate_hz, SAMPLE_RATE_HZ).numpy()[: len(samples)]
    return within_full_scale(np.pad(back, (0, len(samples) - len(back))))
