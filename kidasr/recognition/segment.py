"""Cutting recordings at the pauses that Silero's voice activity detector finds, with a Whisper that hears what is where."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from kidasr.config.schema import Fraction, Text
from kidasr.corpus.recipes.recipe import Found, SetName
from kidasr.corpus.segment import DOUBTFUL, MISHEARD, NO_PAUSE, NO_WORDS, Cut, Piece, Segmenter, Span, cuts, divide
from kidasr.errors import KidasrError

if TYPE_CHECKING:
    from kidasr.corpus.audio import Samples
    from kidasr.corpus.manifest import Utterance
    from kidasr.model.whisper import Whisper
    from kidasr.recognition.transcribe import Transcriber

#: Recordings that are transcribed together.
CHUNK = 16

#: How often a recording is cut anew, at other pauses than those where words could not be assigned.
ROUNDS = 3

#: Maximum length of a transcript in tokens per second, as ``trainer.generation_max_tokens_per_sec``.
MAX_TOKENS_PER_SEC = 25.0


class VadSegmenter(Segmenter):
    """Cuts recordings at pauses. The arguments are the keys of the ``segment`` group, see ``conf/segment/vad.yaml``.

    Args:
        on: The sets whose recordings are cut.
        max_sec: Longer recordings are cut, into pieces of at most this length.
        min_pause_sec: The shortest pause to cut at.
        model: A Whisper checkpoint, by folder or name.
        language: The language that is spoken.
        batch_size: Pieces that are transcribed together.
        min_margin: Characters by which the place of a cut in the transcript must be better than the next best one.
        max_error: Largest share of characters of a piece that the model may have heard otherwise.
    """

    def __init__(
        self,
        on: Annotated[list[SetName], Field(min_length=1)],
        max_sec: PositiveFloat,
        min_pause_sec: PositiveFloat,
        model: Text,
        language: Text,
        batch_size: PositiveInt,
        min_margin: NonNegativeInt,
        max_error: Fraction,
    ):
        self.on, self.max_sec, self.min_pause_sec = list(on), max_sec, min_pause_sec
        self.model, self.language, self.batch_size = model, language, batch_size
        self.min_margin, self.max_error = min_margin, max_error

    def described(self) -> str:
        """``"segment=vad, max_sec=30, model=whisper-small"``."""
        return f"segment=vad, max_sec={self.max_sec:g}, model={self.model.rstrip('/').rpartition('/')[2]}"

    def pieces(self, utterances: Sequence[Found]) -> Iterator[list[Piece]]:
        """See :meth:`kidasr.corpus.segment.Segmenter.pieces`."""
        from tqdm import tqdm

        from kidasr.recognition.speech import speech_detector

        find_speech = speech_detector(self.min_pause_sec, "segment=vad")
        recogniser = self._recogniser()
        transcribe = self._transcriber(recogniser)
        normalize = recogniser.scoring.normalize
        with tqdm(desc="cutting at pauses", total=len(utterances), unit="recording", disable=None, leave=False) as bar:
            for start in range(0, len(utterances), CHUNK):
                chunk = [self._recording(one, find_speech, normalize) for one in utterances[start : start + CHUNK]]
                for _ in range(ROUNDS):
                    waiting = [(one, cut.span) for one in chunk for cut in one.cuts if cut.span not in one.heard]
                    if not waiting:
                        break
                    texts = _transcripts([one.part(span) for one, span in waiting], recogniser, transcribe)
                    for (one, span), text in zip(waiting, texts, strict=True):
                        one.heard[span] = normalize(text).strip()
                    for one in chunk:
                        self._judge(one)
                for one in chunk:
                    yield one.best
                bar.update(len(chunk))

    def _recogniser(self) -> Whisper:
        from kidasr.model.whisper import load_whisper

        try:
            found = load_whisper(self.model, self.language, "transcribe")
        except KidasrError as error:
            text = str(error).replace("model.name_or_path", "segment.model").replace("model.language", "segment.language")
            raise KidasrError(text) from error
        if self.max_sec > found.window_sec:
            raise KidasrError(f"segment.max_sec={self.max_sec:g}; expected: up to {found.window_sec:g}, the model's window")
        if found.scoring.rate == "CER":
            raise KidasrError(f"segment.language={self.language}: it has no spaces, so words can't be assigned to pieces")
        return found

    def _transcriber(self, recogniser: Whisper) -> Transcriber:
        import torch

        from kidasr.recognition.transcribe import Transcriber

        device = "cuda" if torch.cuda.is_available() else "cpu"
        model: Any = recogniser.model
        model.to(device)
        return Transcriber(recogniser, self.batch_size, 1, MAX_TOKENS_PER_SEC, device=device)

    def _recording(
        self, one: Found, find_speech: Callable[[Samples], list[Span]], normalize: Callable[[str], str]
    ) -> _Recording:
        from kidasr.corpus.audio import SAMPLE_RATE_HZ, load_audio

        found = _Recording(one)
        samples = load_audio(found.part(None))
        found.speech, found.length_sec = find_speech(samples), len(samples) / SAMPLE_RATE_HZ
        found.words = one.text.split()
        found.keys = [normalize(word).strip() for word in found.words]
        found.cuts = cuts(found.speech, found.length_sec, self.max_sec)
        if not found.cuts:
            found.best = [Piece(Span(0.0, found.length_sec), one.text, NO_WORDS)]
        return found

    def _judge(self, one: _Recording) -> None:
        """Assign the words to the pieces, and choose other pauses where that is doubtful."""
        if one.cuts == one.judged:
            return
        one.judged = one.cuts
        heard = [one.heard[cut.span] for cut in one.cuts]
        places, margins = divide(one.keys, heard)
        bounds = [0, *places, len(one.words)]
        doubtful = {cut.pause for cut, margin in zip(one.cuts, margins, strict=False) if margin < self.min_margin}
        found = []
        for number, cut in enumerate(one.cuts):
            first, last = bounds[number : number + 2]
            key = " ".join(filter(None, one.keys[first:last]))
            edges = {cut.pause, *([one.cuts[number - 1].pause] if number else [])}
            doubt = (
                NO_PAUSE
                if cut.span.end_sec - cut.span.start_sec > self.max_sec
                else DOUBTFUL
                if edges & doubtful
                else NO_WORDS
                if not key
                else MISHEARD
                if _error(key, heard[number]) > self.max_error
                else ""
            )
            found.append(Piece(cut.span, " ".join(one.words[first:last]), doubt))
        if not one.best or _doubtful_sec(found) < _doubtful_sec(one.best):
            one.best = found
        one.avoid |= doubtful
        keep = {cut.pause for cut in one.cuts[:-1]} - doubtful
        one.cuts = cuts(one.speech, one.length_sec, self.max_sec, one.avoid, keep)


@dataclass
class _Recording:
    """What is known of a recording while it is cut."""

    found: Found
    speech: list[Span] = field(default_factory=list)
    length_sec: float = 0.0
    #: The words of its transcript, as they are and normalized.
    words: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)
    #: The cuts whose pieces are in ``best`` or were worse.
    judged: list[Cut] = field(default_factory=list)
    #: Pauses at which the transcript could not be divided.
    avoid: set[int] = field(default_factory=set)
    #: What the model heard, normalized.
    heard: dict[Span, str] = field(default_factory=dict)
    #: The pieces of which the least is left out.
    best: list[Piece] = field(default_factory=list)

    def part(self, span: Span | None) -> Utterance:
        """The recording, or a part of it."""
        from kidasr.corpus.manifest import Utterance

        one = self.found
        start_sec, end_sec = one.start_sec, one.end_sec
        if span is not None:
            start_sec, end_sec = ((one.start_sec or 0.0) + time for time in span)
        return Utterance.of_recording(str(one.audio_path), one.utterance_id, start_sec, end_sec)


def _transcripts(parts: Sequence[Utterance], recogniser: Whisper, transcribe: Transcriber) -> list[str]:
    from kidasr.features.dataset import ChildSpeechDataset

    return transcribe(ChildSpeechDataset(parts, recogniser)).texts


def _error(reference: str, heard: str) -> float:
    """Edit distance in characters, as a share of the longer text."""
    import jiwer

    errors = jiwer.cer(reference, heard) * len(reference)
    return float(errors / max(len(reference), len(heard)))


def _doubtful_sec(pieces: Sequence[Piece]) -> float:
    return sum(piece.span.end_sec - piece.span.start_sec for piece in pieces if piece.doubt)
