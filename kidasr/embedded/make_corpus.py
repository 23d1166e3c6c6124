"""Make the embedded corpus of synthetic children, and a few adults: `python -m kidasr.embedded.make_corpus`.

Writes `train.jsonl`, `validation.jsonl`, `adults.jsonl` and `audio/*.ogg` (16 kHz mono, OGG Opus). Each age bucket has the
same number of speakers. The splits share no speakers, and none shares an espeak-ng voice with the training split. The adults
show what adapting to children costs; they are recorded like those that the micro Whisper was trained on. `synthesis.py`
describes how the voices are made, and the sources of the method (espeak-ng, Praat's "Change gender", phonological
processes).
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from kidasr.embedded import synthesis
from kidasr.embedded.synthesis import MAX_CLIP_SEC, SAMPLING_RATE, Speaker, SynthesisError

DEFAULT_OUTPUT = Path(__file__).parent / "corpus"
AGE_BUCKETS = ((3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 15))  # years, both ends included
# The approximate last age, in years, at which a child of this corpus uses a phonological process.
LAST_AGE = {"stopping": 3.5, "fronting": 4.5, "cluster_reduction": 5.5, "gliding": 6.5}


@dataclass(frozen=True)
class Split:
    """The composition of a split; its speakers use its espeak-ng voices in turn."""

    name: str
    number: int  # in random keys; pretrain_micro.py uses 2
    speakers: int  # of children: a multiple of the number of age buckets
    clips: int  # per speaker
    voices: tuple[str, ...]
    are_adults: bool = False


VALIDATION_VOICES = ("f2", "f4", "Alicia", "belinda", "m2", "m5", "m8", "Michael")
TRAIN_VOICES = tuple(voice for voice in synthesis.FEMALE_VOICES + synthesis.MALE_VOICES if voice not in VALIDATION_VOICES)
SPLITS = (
    Split("train", 0, 60, 8, TRAIN_VOICES),
    Split("validation", 1, 24, 8, VALIDATION_VOICES),
    Split("adults", 3, 6, 5, ("f2", "m2", "f4", "m5", "Alicia", "Michael"), are_adults=True),
)


def make_speaker(seed: int, split: Split, number: int) -> Speaker:
    """The speaker with this number: consecutive speakers go through the age buckets and voices in turn."""
    rng = synthesis.random_generator(seed, split.number, number)
    if split.are_adults:
        voice = split.voices[number % len(split.voices)]
        return Speaker(
            speaker_id=f"{split.name}_{number:02d}",
            number=number,
            age=int(rng.integers(20, 65)),
            gender="female" if voice in synthesis.FEMALE_VOICES else "male",
            voice=voice,
            espeak_pitch=int(rng.integers(20, 80)),
            speed_wpm=float(rng.uniform(125, 190)),
            tempo=float(rng.uniform(0.85, 1.2)),
        )
    bucket, rank = number % len(AGE_BUCKETS), number // len(AGE_BUCKETS)
    first, last = AGE_BUCKETS[bucket]
    age = first + rank % (last - first + 1)
    gender = "female" if (bucket + rank) % 2 else "male"
    youth = float(np.clip((13 - age) / 10, 0, 1))
    broken_voice = gender == "male" and age >= 13
    return Speaker(
        speaker_id=f"{split.name}_{number:02d}",
        number=number,
        age=age,
        gender=gender,
        voice=split.voices[(number + rank) % len(split.voices)],
        espeak_pitch=int(rng.integers(40, 60)),
        speed_wpm=float(rng.normal(165 - 40 * youth, 8)),
        youth=youth,
        formant_ratio=float((1.06 if broken_voice else 1.1) + 0.2 * youth + rng.normal(0, 0.02)),
        pitch_hz=float((190 if broken_voice else 240) + 90 * youth + rng.normal(0, 15)),
        processes=tuple(name for name, last in LAST_AGE.items() if age + rng.normal(0, 0.7) <= last),
    )


def make_clip(seed: int, split: Split, speaker: Speaker, utterance: int) -> tuple[str, np.ndarray]:
    """Text and samples of one clip. A phrase that exceeds the micro Whisper's window is redrawn."""
    for attempt in range(50):
        rng = synthesis.random_generator(seed, split.number, speaker.number, utterance, attempt)
        longest = 3 if speaker.youth > 0.75 else 4 if speaker.youth > 0.4 else 5
        words = synthesis.random_phrase(rng, int(rng.integers(2, longest + 1)))
        try:
            speech = synthesis.say_phrase(speaker, words, rng)
        except synthesis.NoPitchError:
            continue
        if len(speech) <= MAX_CLIP_SEC * SAMPLING_RATE:
            break
    else:
        raise SynthesisError(f"no phrase of speaker {speaker.speaker_id} fits into {MAX_CLIP_SEC} s")
    if split.are_adults:
        return " ".join(words), synthesis.add_room(speech, rng.uniform(8, 35), None, split.voices, rng)
    speech = synthesis.tablet_microphone(speech, rng.uniform(350, 450), rng.uniform(3800, 4400))
    snr_db = rng.normal(30 - 11 * speaker.youth, 3)
    babble_snr_db = rng.uniform(10, 20) - 4 * speaker.youth if rng.random() < 0.08 else None
    return " ".join(words), synthesis.add_room(speech, snr_db, babble_snr_db, split.voices, rng)


def write_clip(job: tuple[Path, int, Split, Speaker, int]) -> dict[str, str | int | float]:
    """Write the audio of one clip; return its manifest row."""
    output, seed, split, speaker, utterance = job
    text, samples = make_clip(seed, split, speaker, utterance)
    utterance_id = f"{speaker.speaker_id}_{utterance:02d}"
    audio_path = f"audio/{utterance_id}.ogg"
    synthesis.write_ogg(output / audio_path, samples)
    return {
        "utterance_id": utterance_id,
        "speaker_id": speaker.speaker_id,
        "age": speaker.age,
        "gender": speaker.gender,
        "split": "test" if split.are_adults else split.name,
        "audio_path": audio_path,
        "duration_sec": round(len(samples) / SAMPLING_RATE, 3),
        "text": text,
    }


def make_split(output: Path, seed: int, split: Split, limit: int | None, processes: int) -> None:
    """Write the audio and the manifest of one split."""
    speakers = [make_speaker(seed, split, number) for number in range(split.speakers)]
    jobs = [(output, seed, split, speaker, utterance) for utterance in range(split.clips) for speaker in speakers]
    jobs = jobs[:limit]
    written = synthesis.map_in_processes(write_clip, jobs, processes)
    rows = list(tqdm(written, total=len(jobs), desc=split.name, unit="clip", dynamic_ncols=True))
    rows.sort(key=lambda row: row["utterance_id"])
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (output / f"{split.name}.jsonl").write_text(lines, encoding="utf-8")


def make_corpus(output: Path, seed: int = 1, limit: int | None = None, processes: int = 2) -> None:
    """Write the whole corpus to a folder. Clips of an earlier run are removed first; other files stay."""
    synthesis.check_tools()
    (output / "audio").mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        for old_clip in (output / "audio").glob(f"{split.name}_[0-9][0-9]_[0-9][0-9].ogg"):
            old_clip.unlink()
        make_split(output, seed, split, limit, processes)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m kidasr.embedded.make_corpus", description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help="folder to write (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="another seed gives other children (default: %(default)s)")
    parser.add_argument("--limit", type=int, help="make only this many clips of each split, for a quick test")
    parser.add_argument("--processes", type=int, default=2, help="processes to use (default: %(default)s)")
    options = parser.parse_args(arguments)
    for name, least in (("limit", 1), ("processes", 1), ("seed", 0)):
        value = getattr(options, name)
        if value is not None and value < least:
            parser.error(f"--{name} must be at least {least}")
    try:
        make_corpus(options.output, options.seed, options.limit, options.processes)
    except (SynthesisError, OSError) as error:
        sys.exit(f"make_corpus: {error}")


if __name__ == "__main__":
    main()
