"""Data of the error browser: utterances with reference and hypothesis, aligned, and their recordings."""

import base64
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jiwer
import numpy as np
import soundfile

from kidasr.corpus.age import UNKNOWN
from kidasr.corpus.audio import SAMPLE_RATE_HZ, Samples, file_of, load_audio
from kidasr.corpus.manifest import Utterance
from kidasr.errors import KidasrError
from kidasr.evidence.runs import Run

#: MIME types of the formats that libsndfile reads.
MIME = {"WAV": "audio/wav", "FLAC": "audio/flac", "OGG": "audio/ogg", "MP3": "audio/mpeg"}

#: One letter for each operation of an alignment.
LETTERS = {"equal": "=", "substitute": "S", "delete": "D", "insert": "I"}


def browser_data(
    systems: Mapping[str, Sequence[Run]], folder: Path, max_utterances: int, embed_audio_mb: float
) -> dict[str, Any]:
    """The data of the browser.

    Args:
        systems: Runs on the same utterances, by the name of their configuration. The first of several is the baseline.
        folder: The folder of the page. Links to recordings are relative to it.
        max_utterances: Number of utterances: those with the most errors, or with several configurations, those whose errors
            differ most.
        embed_audio_mb: Megabytes of recordings to embed in the page; the rest is linked.

    Returns:
        ``utterances``: id, speaker, age, words, reference (before normalization, where it is recorded), audio (a URL, or
        null). ``systems``: name, and ``runs``: seed, and for each utterance ``heard``, a list of ``[operation, reference,
        hypothesis]``, ``raw``, the transcript before normalization, and ``runaway``. ``total``: number of utterances in the
        set.
    """
    errors = np.array([np.mean([run.errors for run in runs], axis=0) for runs in systems.values()])
    weight = errors[0] if len(systems) == 1 else np.abs(errors - errors[0]).sum(axis=0)
    chosen = np.lexsort((-errors.max(axis=0), -weight))[:max_utterances]
    first = next(iter(systems.values()))[0]
    references = _raw(first, "raw_references")
    audio = AudioUrls(folder, embed_audio_mb)
    return {
        "total": len(first.utterance_ids),
        "ages": first.age_buckets,
        "utterances": [
            {
                "id": first.utterance_ids[place],
                "speaker": str(first.speakers[place]),
                "age": str(first.ages[place]),
                "words": int(first.words[place]),
                "reference": references[place] or first.references[place],
                "audio": audio.url(first.audio_paths[place], *(first.audio_parts[place] if first.audio_parts else ())),
            }
            for place in chosen
        ],
        "systems": [{"name": name, "runs": [_heard(run, chosen) for run in runs]} for name, runs in systems.items()],
    }


def _raw(run: Run, name: str) -> list[str]:
    """Texts before normalization; empty strings where they are not recorded."""
    texts: list[str] = getattr(run, name, None) or [""] * len(run.utterance_ids)
    return texts


def _heard(run: Run, chosen: np.ndarray) -> dict[str, Any]:
    raw = _raw(run, "raw_hypotheses")
    references, hypotheses = ([texts[place] for place in chosen] for texts in (run.references, run.hypotheses))
    return {
        "seed": run.seed,
        "raw": [raw[place] for place in chosen],
        "heard": [align(*pair) for pair in zip(references, hypotheses, strict=True)],
        "runaway": [bool(run.runaways[place]) for place in chosen],
    }


def align(reference: str, hypothesis: str) -> list[list[str]]:
    """The alignment of two normalized texts (jiwer): ``[["=", "two", "two"], ["S", "cats", "hats"]]``."""
    aligned = jiwer.process_words(reference, hypothesis)
    said, heard = aligned.references[0], aligned.hypotheses[0]
    return [
        [
            LETTERS[chunk.type],
            " ".join(said[chunk.ref_start_idx : chunk.ref_end_idx]),
            " ".join(heard[chunk.hyp_start_idx : chunk.hyp_end_idx]),
        ]
        for chunk in aligned.alignments[0]
    ]


class AudioUrls:
    """Recordings as URLs: data URLs while there is room, then links. Files that are not audio are left out.

    Of a part of a recording, only the part is embedded, as the model heard it; a link names it as a media fragment
    (https://www.w3.org/TR/media-frags/).
    """

    def __init__(self, folder: Path, embed_audio_mb: float):
        self._folder = folder
        self._room = 1e6 * embed_audio_mb

    def url(self, path: str, start_sec: float | None = None, end_sec: float | None = None) -> str | None:
        if not path or not Path(file_of(path)).is_file():  # opening a pipe would block
            return None
        if (start_sec, end_sec) != (None, None) or file_of(path) != path:
            return self._part(path, start_sec, end_sec)
        try:
            mime, size = MIME.get(soundfile.info(path).format), Path(path).stat().st_size
            if mime and size <= self._room:
                return self._embedded(Path(path).read_bytes(), mime)
        except (OSError, soundfile.SoundFileError):
            return None
        return quote(os.path.relpath(path, self._folder))

    def of_samples(self, samples: Samples, name: str) -> str:
        """Samples at 16 kHz, embedded or written beside the page as ``name.flac``."""
        file = io.BytesIO()
        soundfile.write(file, samples, SAMPLE_RATE_HZ, format="FLAC")
        if file.tell() <= self._room:
            return self._embedded(file.getvalue(), MIME["FLAC"])
        (self._folder / f"{name}.flac").write_bytes(file.getvalue())
        return quote(f"{name}.flac")

    def _part(self, path: str, start_sec: float | None, end_sec: float | None) -> str | None:
        """A part of a recording, or a recording inside another file."""
        if self._room > 0:
            part = Utterance("", "", path, "", UNKNOWN, None, None, None, None, "", None, start_sec, end_sec)
            file = io.BytesIO()
            try:
                soundfile.write(file, load_audio(part), SAMPLE_RATE_HZ, format="FLAC")
            except (KidasrError, soundfile.SoundFileError):
                return None
            if file.tell() <= self._room:
                return self._embedded(file.getvalue(), MIME["FLAC"])
        times = f"{start_sec or 0:.3f}" + ("" if end_sec is None else f",{end_sec:.3f}")
        return f"{quote(os.path.relpath(path, self._folder))}#t={times}" if file_of(path) == path else None

    def _embedded(self, content: bytes, mime: str) -> str:
        self._room -= len(content)
        return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def changes(baseline: Run, run: Run) -> Sequence[int]:
    """How many utterances the run fixed (wrong in the baseline, right in the run) and how many it broke."""
    return int(((baseline.errors > 0) & (run.errors == 0)).sum()), int(((baseline.errors == 0) & (run.errors > 0)).sum())
