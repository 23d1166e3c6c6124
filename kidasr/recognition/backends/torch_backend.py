"""PyTorch: the model as it was trained and scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kidasr.recognition.backends.backend import Backend, Decoding, Transcribes

if TYPE_CHECKING:
    from kidasr.corpus.manifest import Utterance
    from kidasr.features.padding import Padding
    from kidasr.features.recogniser import Recogniser
    from kidasr.recognition.transcribe import Transcriber


class Torch(Backend):
    """Decodes as a run's evaluations do (:mod:`kidasr.recognition.transcribe`), in the precision of ``trainer``."""

    is_torch = True

    def prepare(self, recogniser: Recogniser, padding: Padding, decoding: Decoding) -> Transcribes:
        """See :meth:`Backend.prepare`."""
        from kidasr.recognition.transcribe import Transcriber

        recogniser.model.to(decoding.device)
        transcriber = Transcriber(
            recogniser,
            decoding.batch_size,
            decoding.num_beams,
            decoding.max_tokens_per_sec,
            decoding.max_tokens,
            device=decoding.device,
            autocast=decoding.half,
            num_workers=decoding.num_workers,
            fallback=decoding.fallback,
        )
        return _WithTorch(transcriber, padding)


class _WithTorch:
    def __init__(self, transcriber: Transcriber, padding: Padding):
        self.transcriber, self.padding = transcriber, padding
        self.window_sec = transcriber.recogniser.window_sec

    def __call__(self, utterances: Sequence[Utterance]) -> list[str]:
        from kidasr.features.dataset import ChildSpeechDataset

        return self.transcriber(ChildSpeechDataset(utterances, self.transcriber.recogniser, padding=self.padding)).texts
