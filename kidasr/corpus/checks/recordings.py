"""Checks of single recordings: unusable, clipped, silent, noisy, odd rates, pauses."""

from collections import Counter
from collections.abc import Callable, Iterator

from kidasr.corpus.audio import SAMPLE_RATE_HZ, TOLERANCE, TOLERANCE_SEC
from kidasr.corpus.checks.findings import Examined, Finding, Flagged, check, worst_first
from kidasr.corpus.checks.measure import Recording, Sound

#: What each fault of an unusable recording is.
FAULTS = {
    "unreadable": "can't be read",
    "empty": "have no samples",
    "truncated": "are cut short",
    "too_long": "are longer than the model's window of {window:g} s",
}

#: What to do about them.
REMEDIES = {
    "too_long": "Training refuses them. job=prepare corpus=manifest corpus.root=MANIFEST segment=vad cuts them at pauses; "
    "data.on_bad_audio=skip leaves them out.",
}


@check
def unusable(examined: Examined) -> Iterator[Finding]:
    """Recordings that training refuses."""
    for kind, what in FAULTS.items():
        flagged = [Flagged(place, one.error) for place, one in enumerate(examined.recordings) if one.fault == kind]
        what = what.format(window=examined.vocabulary.window_sec)
        remedy = REMEDIES.get(kind, "Training refuses them. Restore the files, or data.on_bad_audio=skip leaves them out.")
        yield Finding(kind, "error", flagged, f"{examined.share(flagged)} {what}. {remedy}")


def _sounds(examined: Examined, value: Callable[[Sound], float], is_odd: Callable[[Sound], bool]) -> dict[int, float]:
    """A measure of the decoded recordings that are odd; silent ones have a finding of their own."""
    return {
        place: value(one.sound)
        for place, one in enumerate(examined.recordings)
        if one.sound is not None and not is_silent(examined, one) and is_odd(one.sound)
    }


def is_silent(examined: Examined, recording: Recording) -> bool:
    """Whether its largest sample is below the limit."""
    return recording.sound is not None and recording.sound.peak_db < examined.limits.silent_db


@check
def silent(examined: Examined) -> Iterator[Finding]:
    """Silence with a transcript. With an empty transcript it may be meant."""
    flagged = [
        Flagged(place, f"largest sample {one.sound.peak_db:.0f} dB of full scale")
        for place, one in enumerate(examined.recordings)
        if one.sound is not None and is_silent(examined, one) and examined.utterances[place].text.strip()
    ]
    yield Finding(
        "silent",
        "error",
        flagged,
        f"{examined.share(flagged)} are silent (check.silent_db={examined.limits.silent_db:g}), but their transcripts have "
        "words, which teaches the model to invent them. Leave them out, or record them again.",
    )


@check
def clipped(examined: Examined) -> Iterator[Finding]:
    """Recordings whose loudest samples are cut off."""
    odd = _sounds(examined, lambda sound: sound.clipped, lambda sound: sound.clipped >= examined.limits.clipped_fraction)
    flagged = worst_first(odd, lambda value: f"{100 * value:.2g}% of the samples at the ceiling")
    yield Finding(
        "clipped",
        "warning",
        flagged,
        f"{examined.share(flagged)} are clipped: {100 * examined.limits.clipped_fraction:g}% of the samples or more are at "
        "the ceiling (check.clipped_fraction). Whisper bears a little of it; listen to the worst, and lower the gain at the "
        "next recording.",
    )


@check
def noisy(examined: Examined) -> Iterator[Finding]:
    """Recordings with a low signal-to-noise ratio."""
    limit = examined.limits.min_snr_db
    odd = _sounds(examined, lambda sound: sound.snr_db, lambda sound: sound.snr_db < limit)
    flagged = worst_first(odd, lambda value: f"SNR {value:.1f} dB", descending=False)
    yield Finding(
        "noisy",
        "warning",
        flagged,
        f"{examined.share(flagged)} have an estimated signal-to-noise ratio below {limit:g} dB (check.min_snr_db). Listen "
        "to the worst: are the words to be heard? Noise as in the test set is good to train on; a recording without speech "
        "is not.",
    )


@check
def rates(examined: Examined) -> Iterator[Finding]:
    """Recordings below 16 kHz, and a mixture of rates."""
    known = examined.grouped(lambda place: examined.recordings[place].rate_hz or None)
    total = sum(map(len, known.values()))
    low = [place for rate, places in known.items() if isinstance(rate, int) and rate < SAMPLE_RATE_HZ for place in places]
    flagged = [Flagged(place, f"{examined.recordings[place].rate_hz} Hz") for place in low]
    mixed = len(low) < total
    yield Finding(
        "low_rate",
        "warning" if mixed else "note",
        flagged,
        f"{examined.share(flagged)} have fewer than 16,000 samples per second and are resampled: "
        + (
            "nothing is above half their rate, while the others have it. If a set, an age or a text goes with the rate, the "
            "model learns the telephone instead; compare their shares in the sets."
            if mixed
            else "the whole corpus has nothing above half its rate. Fine for a telephone, not for a microphone."
        ),
    )
    if len(known) > 1 and not low:
        most = max(known, key=lambda rate: len(known[rate]))
        others = [place for rate, places in known.items() if rate != most for place in places]
        counts = Counter(examined.recordings[place].rate_hz for place in others)
        yield Finding(
            "mixed_rates",
            "note",
            [Flagged(place, f"{examined.recordings[place].rate_hz} Hz") for place in others],
            f"most recordings have {most} samples per second, others {', '.join(map(str, sorted(counts)))}. All are "
            "resampled to 16,000, which does no harm; it may say that they are of several sources.",
        )


@check
def edge_silence(examined: Examined) -> Iterator[Finding]:
    """Much silence before and after the speech."""
    limit = examined.limits.max_edge_silence_sec
    odd = _sounds(
        examined, lambda sound: sound.lead_sec + sound.trail_sec, lambda sound: sound.lead_sec + sound.trail_sec > limit
    )
    flagged = worst_first(odd, lambda value: f"{value:.1f} s of silence at its ends")
    yield Finding(
        "edge_silence",
        "note",
        flagged,
        f"{examined.share(flagged)} have more than {limit:g} s of silence before and after the speech "
        "(check.max_edge_silence_sec). It costs time, and Whisper tends to invent words in it. Is the transcript complete?",
    )


@check
def long_pause(examined: Examined) -> Iterator[Finding]:
    """A long pause within an utterance."""
    limit = examined.limits.max_pause_sec
    odd = _sounds(examined, lambda sound: sound.pause_sec, lambda sound: sound.pause_sec > limit)
    flagged = worst_first(odd, lambda value: f"a pause of {value:.1f} s")
    yield Finding(
        "long_pause",
        "note",
        flagged,
        f"{examined.share(flagged)} have a pause of more than {limit:g} s (check.max_pause_sec). They could be cut there; "
        "check that nobody else speaks in it.",
    )


@check
def wrong_duration(examined: Examined) -> Iterator[Finding]:
    """Recordings much longer than the manifest says; much shorter ones are truncated."""
    flagged = []
    for place, (utterance, one) in enumerate(zip(examined.utterances, examined.recordings, strict=True)):
        told_sec = utterance.duration_sec
        if told_sec is not None and not one.fault and one.lasts_sec > (1 + TOLERANCE) * told_sec + TOLERANCE_SEC:
            flagged.append(Flagged(place, f"{one.lasts_sec:.2f} s, the manifest says {told_sec:g} s"))
    yield Finding(
        "wrong_duration",
        "warning",
        flagged,
        f"{examined.share(flagged)} are longer than the manifest says, and are used whole. If the manifest means a part of "
        "the recording, the transcript is of that part only.",
    )
