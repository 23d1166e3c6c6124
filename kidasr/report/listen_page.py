"""The page of job=listen: players and log-mel spectrograms of utterances before and after each augmentation."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kidasr.corpus.audio import SAMPLE_RATE_HZ, Samples
from kidasr.corpus.manifest import Utterance
from kidasr.report.browser import AudioUrls
from kidasr.report.figure import histogram
from kidasr.report.options import ReportOptions
from kidasr.report.page import Page, Player, Section

#: The values of Whisper's features that are black and white.
DARKEST, BRIGHTEST = -0.8, 1.2

NOTE = (
    "Spectrograms: Whisper's 80 mel bins, low frequencies at the bottom, 10 ms a column. An augmentation of features "
    "changes the spectrogram alone, and can't be heard. Each utterance is as in the first epoch in which it is changed."
)


@dataclass(frozen=True)
class Heard:
    """An utterance before and after augmentation."""

    utterance: Utterance
    #: The text after augmentation.
    text: str
    epoch: int
    #: What was drawn for it.
    drawn: Sequence[str]
    before: Samples
    after: Samples
    #: Log-mel features, shape ``(mel_bins, frames)``.
    features_before: np.ndarray[Any, np.dtype[np.float32]]
    features_after: np.ndarray[Any, np.dtype[np.float32]]


def as_json(heard: Heard) -> dict[str, Any]:
    """An utterance in ``listen.json``."""
    return {
        "utterance_id": heard.utterance.utterance_id,
        "epoch": heard.epoch,
        "drawn": list(heard.drawn),
        "text": heard.text,
        "duration_sec": {"before": len(heard.before) / SAMPLE_RATE_HZ, "after": len(heard.after) / SAMPLE_RATE_HZ},
    }


def listen_page(
    heard: Mapping[str, Sequence[Heard]],
    abouts: Mapping[str, str],
    recorded_sec: Sequence[float],
    planned_sec: Sequence[float] | None,
    folder: Path,
    options: ReportOptions,
) -> Page:
    """The page.

    Args:
        heard: The utterances by augmentation.
        abouts: What each augmentation does.
        recorded_sec: Length of each training utterance.
        planned_sec: Its length in the first epoch, if utterances are joined.
        folder: The folder of the page, and of the recordings that have no room in it.
        options: The keys of the ``report`` group.
    """
    audio = AudioUrls(folder, options.embed_audio_mb)
    sections = [
        Section(
            name,
            [abouts[name]],
            players=[player for number, one in enumerate(of) for player in _pair(name, number, one, audio)],
        )
        for name, of in heard.items()
    ]
    if planned_sec is not None:
        lengths = {"recorded": recorded_sec, "in the first epoch": planned_sec}
        sections.append(Section("Length of the training utterances", figures={"length": histogram("duration (s)", lengths)}))
    sections[0].paragraphs = [NOTE, *sections[0].paragraphs]
    return Page("Augmentations", str(folder), sections)


def _pair(name: str, number: int, heard: Heard, audio: AudioUrls) -> tuple[Player, Player]:
    one = heard.utterance
    age = one.age_bucket if one.age is None else f"{one.age:g}"
    facts = f"{one.utterance_id} · speaker {one.speaker_id} · age {age}"
    file = f"{name.replace(' ', '_')}-{number}"
    can_be_heard = heard.after is not heard.before
    drawn = ", ".join(heard.drawn)
    return (
        Player(
            f"{facts} · {len(heard.before) / SAMPLE_RATE_HZ:.2f} s",
            "before",
            one.text,
            audio.of_samples(heard.before, f"{file}-before"),
            _image(heard.features_before),
        ),
        Player(
            f"{facts} · epoch {heard.epoch} · {len(heard.after) / SAMPLE_RATE_HZ:.2f} s",
            f"after: {drawn}" if drawn else "after",
            heard.text,
            audio.of_samples(heard.after, f"{file}-after") if can_be_heard else None,
            _image(heard.features_after),
        ),
    )


def _image(features: np.ndarray[Any, np.dtype[np.float32]]) -> str:
    """A spectrogram as a data URL."""
    from matplotlib.image import imsave

    file = io.BytesIO()
    imsave(file, features, vmin=DARKEST, vmax=BRIGHTEST, cmap="magma", origin="lower", format="png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
