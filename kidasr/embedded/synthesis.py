"""Speak short phrases in the voices of synthetic adults and children.

The method, and where it comes from:

- **Speech** is synthesised by espeak-ng (formant synthesis, `en-us` with its voice variants).
- **Children** are those voices passed through Praat's "Change gender" (praat-parselmouth): higher formants and a higher
  median pitch the younger the speaker. The direction of the age effects (shorter vocal tract, higher pitch, slower and
  more variable speech) follows Lee, Potamianos & Narayanan, "Acoustics of children's speech" (JASA 105, 1999); the
  numbers are chosen for the difficulty of the task and are not fitted to children.
- **Pronunciation** of the young is changed by phonological processes that speech therapy describes (gliding "rat" ->
  "wat", fronting "key" -> "tea", cluster reduction "spoon" -> "poon", ...; see McLeod & Crowe, 2018, on when children
  outgrow them). The transcript keeps the intended word, as orthographic transcripts of children do.
- **Disfluencies** (fillers, false starts, pauses between words) are spoken but not transcribed.
- **Recording**: the narrow band of a cheap tablet's microphone, coloured noise and, occasionally, another voice in the
  background.

Nothing here uses global random state: each clip is a pure function of (seed, split, speaker, utterance). Praat has its own
random generator (it jitters voiceless sound), which is seeded from the same numbers before every call.
"""

import io
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile

Item = TypeVar("Item")
Result = TypeVar("Result")

SAMPLING_RATE = 16_000  # Hz
MAX_CLIP_SEC = 2.95  # the micro Whisper's window is 3 s

# Variants of espeak-ng's en-us that sound like people.
FEMALE_VOICES = (
    *("f1", "f2", "f3", "f4", "f5", "Annie", "Alicia", "Andrea", "anika", "aunty", "belinda", "linda", "steph"),
    *("steph2", "steph3", "shelby"),
)
MALE_VOICES = (
    *("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "Andy", "Mario", "Michael", "adam", "antonio", "benjamin"),
    *("boris", "caleb", "david", "ed", "edward", "edward2", "gustave", "john", "marcelo", "max", "miguel", "norbert"),
    *("pablo", "paul", "pedro", "quincy"),
)

DETERMINERS = ("the", "my", "this")
NUMBERS = ("two", "three", "four", "five")
SIZES = ("big", "little", "fat", "wet")
COLOURS = ("red", "green", "brown", "black", "white")
NOUNS = (
    *("cat", "cap", "cup", "dog", "doll", "goat", "coat", "boat"),
    *("bear", "pear", "king", "ring", "lake", "cake"),
)
VERBS = ("ran", "sat", "fell", "slept")


class SynthesisError(RuntimeError):
    """A tool that the synthesis needs is missing or has failed; the message is one line for the user."""


class NoPitchError(SynthesisError):
    """Praat found no voiced sound to change; another phrase or pitch may work."""


@dataclass(frozen=True)
class Speaker:
    """A synthetic speaker.

    Attributes:
        tempo: playback speed relative to the synthesis, which shifts the formants as well (1: unchanged).
        formant_ratio, pitch_hz: targets of Praat's "Change gender"; `None` leaves the voice unchanged.
        speed_wpm: espeak-ng's speaking rate in words per minute.
        youth: 1 at three years, 0 from thirteen years; scales everything that makes a young child hard to understand.
        processes: names of the phonological processes (see `PROCESSES`) that this speaker uses.
    """

    speaker_id: str
    number: int
    age: int
    gender: str
    voice: str
    espeak_pitch: int
    speed_wpm: float
    youth: float = 0.0
    tempo: float = 1.0
    formant_ratio: float | None = None
    pitch_hz: float | None = None
    processes: tuple[str, ...] = ()


# Pattern and replacement on espeak-ng's phoneme mnemonics of one word (`espeak-ng -x`).
PROCESSES: dict[str, tuple[tuple[str, str], ...]] = {
    "gliding": ((r"r(?=['@aAeEiIoOuUV0-9])", "w"), (r"l(?=['@aAeEiIoOuUV0-9])", "w")),
    "fronting": ((r"k", "t"), (r"g", "d"), (r"N(?!g)", "n")),
    "stopping": ((r"T", "t"), (r"D", "d"), (r"f", "p"), (r"v", "b"), (r"S", "t")),
    "cluster_reduction": ((r"s(?=[ptkwl])", ""), (r"(?<=[pbtdkgf])[rlw]", "")),
}


def check_tools(praat: bool = True) -> None:
    """Raise `SynthesisError` with the install command if a tool is missing."""
    if shutil.which("espeak-ng") is None:
        raise SynthesisError("espeak-ng is not installed: on Debian or Ubuntu run `apt-get install espeak-ng`")
    if praat:
        try:
            import parselmouth  # noqa: F401
        except ImportError:
            raise SynthesisError("Praat is not installed: run `pip install praat-parselmouth`") from None


def map_in_processes(function: Callable[[Item], Result], items: Iterable[Item], processes: int) -> Iterator[Result]:
    """`map`, in order, in several processes; the function and the items must be picklable."""
    if processes == 1:
        yield from map(function, items)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(function, items, chunksize=16)


def random_generator(*key: int) -> np.random.Generator:
    """The random generator for a key such as (seed, split, speaker, utterance)."""
    return np.random.default_rng(key)


def random_phrase(rng: np.random.Generator, words: int) -> list[str]:
    """A phrase of two to five words: "red cat", "three little ships sang", "this wet black dog hid".

    There is at most one number in it, so that Whisper's English text normaliser never joins two of them.
    """
    plural = rng.random() < 0.35
    noun = str(rng.choice(NOUNS)) + ("s" if plural else "")
    slots = {
        0: str(rng.choice(NUMBERS if plural else DETERMINERS)),
        1: str(rng.choice(SIZES)),
        2: str(rng.choice(COLOURS)),
        4: str(rng.choice(VERBS)),
    }
    kept = rng.choice(list(slots), size=words - 1, replace=False)
    return [word for _, word in sorted([(int(slot), slots[int(slot)]) for slot in kept] + [(3, noun)])]


@cache
def _phonemes(word: str) -> str:
    return _run_espeak(["-v", "en-us", "-q", "-x", word]).decode().strip()


def _run_espeak(arguments: list[str]) -> bytes:
    try:
        return subprocess.run(["espeak-ng", *arguments], capture_output=True, check=True).stdout
    except FileNotFoundError:
        check_tools(praat=False)
        raise
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode(errors="replace").strip().splitlines()
        raise SynthesisError(f"espeak-ng failed: {reason[0] if reason else error}") from None


def pronounce(word: str, processes: tuple[str, ...], probability: float, rng: np.random.Generator) -> str:
    """espeak-ng's phonemes of a word, with each phonological process applied at random."""
    phonemes = _phonemes(word)
    for name in processes:
        if rng.random() < probability:
            for pattern, replacement in PROCESSES[name]:
                phonemes = re.sub(pattern, replacement, phonemes)
    return phonemes


def speak(phonemes: list[str], voice: str, pitch: int, speed_wpm: float) -> tuple[np.ndarray, int]:
    """Say phonemes with espeak-ng: samples in -1..1 with the silence at both ends cut, and the sampling rate."""
    text = "[[" + " ".join(phonemes) + "]]"
    arguments = ["-v", f"en-us+{voice}", "-p", str(pitch), "-s", str(round(speed_wpm)), "--stdout", text]
    samples, rate = soundfile.read(io.BytesIO(_run_espeak(arguments)), dtype="float64")
    loud = np.flatnonzero(np.abs(samples) > 0.01)
    if not len(loud):
        raise SynthesisError(f"espeak-ng's voice '{voice}' produced no sound for {text}")
    return samples[max(loud[0] - rate // 100, 0) : loud[-1] + rate // 50], rate


def change_voice(
    samples: np.ndarray, rate: float, formant_ratio: float | None, pitch_hz: float | None, pitch_range: float, seed: int
) -> np.ndarray:
    """Praat's "Change gender" (left out when the ratio is `None`), then resampling to 16 kHz."""
    import parselmouth
    from parselmouth.praat import call, run

    sound = parselmouth.Sound(samples, rate)
    if formant_ratio is not None:
        run(f"random_initializeWithSeedUnsafelyButPredictably ({seed})")
        try:
            sound = call(sound, "Change gender", 60, 500, formant_ratio, pitch_hz, pitch_range, 1.0)
        except parselmouth.PraatError:
            raise NoPitchError(f"Praat found no pitch in {len(samples) / rate:.2f} s of speech") from None
    return sound.resample(SAMPLING_RATE).values[0]


def coloured_noise(length: int, rng: np.random.Generator, slope: float) -> np.ndarray:
    """Noise whose power falls with frequency to the power `slope` (0 white, 1 pink), of unit power."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    spectrum /= np.maximum(np.arange(len(spectrum)), 1) ** (slope / 2)
    noise = np.fft.irfft(spectrum, n=length)
    return noise / np.sqrt(np.mean(noise**2))


def mix(speech: np.ndarray, other: np.ndarray, snr_db: float) -> np.ndarray:
    """Add `other` so that the speech is `snr_db` decibels above it."""
    power = np.mean(speech**2) / max(np.mean(other**2), 1e-12)
    return speech + other * np.sqrt(power / 10 ** (snr_db / 10))


def _background_voice(length: int, voices: tuple[str, ...], rng: np.random.Generator) -> np.ndarray:
    phrase = [_phonemes(word) for word in random_phrase(rng, 5)]
    samples, rate = speak(phrase, str(rng.choice(voices)), int(rng.integers(30, 70)), rng.uniform(140, 190))
    samples = change_voice(samples, rate, None, None, 1.0, 0)
    background = np.zeros(length)
    start = int(rng.integers(0, max(length // 2, 1)))
    part = samples[: length - start]
    background[start : start + len(part)] = part
    return background


def _chunks(words: list[str], youth: float, rng: np.random.Generator) -> list[list[str]]:
    """Split a phrase where the speaker pauses: rarely at thirteen, about every other word at three."""
    chunks = [[words[0]]]
    for word in words[1:]:
        if rng.random() < 0.12 + 0.28 * youth:
            chunks.append([])
        chunks[-1].append(word)
    return chunks


def say_phrase(speaker: Speaker, words: list[str], rng: np.random.Generator) -> np.ndarray:
    """The phrase as this speaker says it, without room noise: samples at 16 kHz."""
    youth = speaker.youth
    pieces = [np.zeros(int(rng.uniform(0.02, 0.12) * SAMPLING_RATE))]

    def utter(phonemes: list[str]) -> np.ndarray:
        speed = speaker.speed_wpm * np.exp(rng.normal(0, 0.05 + 0.1 * youth))
        samples, rate = speak(phonemes, speaker.voice, speaker.espeak_pitch, float(np.clip(speed, 80, 260)))
        pitch_hz = None if speaker.pitch_hz is None else speaker.pitch_hz * np.exp(rng.normal(0, 0.04 + 0.06 * youth))
        ratio = None if speaker.formant_ratio is None else speaker.formant_ratio * np.exp(rng.normal(0, 0.02 * youth))
        pitch_range, seed = 1.0 + 0.5 * youth, int(rng.integers(1, 2**31 - 1))
        return change_voice(samples, rate * speaker.tempo, ratio, pitch_hz, pitch_range, seed)

    for chunk in _chunks(words, youth, rng):
        spoken = [pronounce(word, speaker.processes, 0.9, rng) for word in chunk]
        if rng.random() < 0.06 * youth:
            pieces += [utter(["'V:m" if rng.random() < 0.5 else "'V:"]), _pause(rng, youth)]
        if rng.random() < 0.08 * youth:
            start = utter(spoken[:1])
            pieces += [start[: int(len(start) * rng.uniform(0.3, 0.6))], _pause(rng, youth)]
        pieces += [utter(spoken), _pause(rng, youth)]
    return np.concatenate(pieces)


def _pause(rng: np.random.Generator, youth: float) -> np.ndarray:
    return np.zeros(int(rng.uniform(0.03, 0.12 + 0.13 * youth) * SAMPLING_RATE))


def tablet_microphone(samples: np.ndarray, low_hz: float, high_hz: float) -> np.ndarray:
    """The band-pass of a cheap device: 12 dB per octave below `low_hz`, 24 above `high_hz`."""
    frequency = np.maximum(np.fft.rfftfreq(len(samples), 1 / SAMPLING_RATE), 1.0)
    gain = 1 / (np.sqrt(1 + (low_hz / frequency) ** 4) * np.sqrt(1 + (frequency / high_hz) ** 8))
    return np.fft.irfft(np.fft.rfft(samples) * gain, n=len(samples))


def add_room(
    speech: np.ndarray, snr_db: float, babble_snr_db: float | None, voices: tuple[str, ...], rng: np.random.Generator
) -> np.ndarray:
    """Add coloured noise and, if `babble_snr_db` is given, another voice; set a random loudness."""
    mixed = mix(speech, coloured_noise(len(speech), rng, rng.uniform(0, 1.5)), snr_db)
    if babble_snr_db is not None:
        mixed = mix(mixed, _background_voice(len(speech), voices, rng), babble_snr_db)
    level = 10 ** (rng.uniform(-28, -20) / 20) / np.sqrt(np.mean(mixed**2))
    return np.clip(mixed * level, -0.99, 0.99)


def write_ogg(path: Path, samples: np.ndarray) -> None:
    """Write OGG Opus (about 24 kbit/s) whose bytes depend only on the samples.

    libsndfile gives every OGG stream a random serial number; it is set to zero here, and the page checksums are updated.
    """
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLING_RATE, format="OGG", subtype="OPUS", compression_level=0.95)
    path.write_bytes(_without_serial(bytearray(buffer.getvalue())))


def _without_serial(data: bytearray) -> bytes:
    """Set the stream serial number of every OGG page to 0 (page layout and checksum: RFC 3533, section 6)."""
    start = 0
    while start < len(data):
        segments = data[start + 26]
        end = start + 27 + segments + sum(data[start + 27 : start + 27 + segments])
        data[start + 14 : start + 18] = bytes(4)
        data[start + 22 : start + 26] = bytes(4)
        data[start + 22 : start + 26] = _ogg_checksum(bytes(data[start:end])).to_bytes(4, "little")
        start = end
    return bytes(data)


@lru_cache(maxsize=1)
def _checksum_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        value <<= 24
        for _ in range(8):
            value = (value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)
        table.append(value & 0xFFFFFFFF)
    return tuple(table)


def _ogg_checksum(page: bytes) -> int:
    table, checksum = _checksum_table(), 0
    for byte in page:
        checksum = ((checksum << 8) & 0xFFFFFFFF) ^ table[(checksum >> 24) ^ byte]
    return checksum
