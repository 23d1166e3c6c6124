"""Small corpora in the layouts of the real ones, with noise for speech. Some files do not fit, as in the real ones."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

RATE_HZ = 16_000


def noise(path: Path, duration_sec: float = 0.5, **options: Any) -> Path:
    """Write a recording of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(path.name))
    soundfile.write(path, 0.1 * rng.standard_normal(int(duration_sec * RATE_HZ)), RATE_HZ, **options)
    return path


def text(path: Path, *lines: str) -> Path:
    """Write a text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def data_folder(folder: Path, rows: Mapping[str, Mapping[str, Any]], separator: str = " ") -> None:
    """Write Kaldi tables. Each row has ``wav``, ``text``, ``speaker`` and may have ``age`` and ``gender``."""
    speakers = {row["speaker"]: row for row in rows.values()}
    tables = {
        "wav.scp": {name: row["wav"] for name, row in rows.items()},
        "text": {name: row["text"] for name, row in rows.items()},
        "utt2spk": {name: row["speaker"] for name, row in rows.items()},
        "spk2age": {name: row.get("age", "unknown") for name, row in speakers.items()},
        "spk2gender": {name: row.get("gender", "") for name, row in speakers.items()},
    }
    for table, pairs in tables.items():
        text(folder / table, *(f"{key}{separator}{value}" for key, value in pairs.items()))


def speechocean762(root: Path) -> Path:
    """Two children and an adult to train on, two children to test on."""
    sets = {"train": (("0001", 9, "m"), ("0005", 10, "f"), ("0024", 25, "f")), "test": (("0003", 6, "m"), ("0009", 15, "f"))}
    for name, speakers in sets.items():
        rows = {}
        for speaker, age, gender in speakers:
            for number in (11, 35):
                path = f"WAVE/SPEAKER{speaker}/{speaker}000{number}.WAV"
                noise(root / path, 0.5 + number / 1000, format="WAV")
                row = {"wav": path, "text": "WE CALL IT BEAR", "speaker": speaker, "age": age, "gender": gender}
                rows[f"{speaker}000{number}"] = row
        data_folder(root / name, rows, separator="\t")
    return root


def myst(root: Path) -> Path:
    """Two students in each set, one utterance of each not transcribed; three files that do not fit."""
    sets = {"train": ("002001", "002002"), "development": ("003001", "003002"), "test": ("004001", "004002")}
    data = root / "myst_child_conv_speech" / "data"
    for name, students in sets.items():
        for student in students:
            session = f"myst_{student}_2014-02-21_09-37-51_LS_1.1"
            for number in range(3):
                path = noise(data / name / student / session / f"{session}_{number:03}.flac")
                if number < 2:
                    text(path.with_suffix(".trn"), "um  the water <unk> goes to the (*) ro-")
    folder = data / "train" / "002001" / "myst_002001_2014-02-21_09-37-51_LS_1.1"
    text(folder / "myst_002001_2014-02-21_09-37-51_LS_1.1_009.trn", "no recording")
    noise(data / "train" / "002001" / "stray.flac")
    text(noise(folder / "myst_999999_x.flac").with_suffix(".trn"), "another student")
    return root


def cmu_kids(root: Path) -> Path:
    """Six speakers of two ages, two sentences each; one recording that no table has, one that is missing, one of an unknown
    speaker."""
    speakers = [(f"{gender}ab{letter}", age) for gender in "fm" for letter, age in (("a", 7), ("b", 8), ("c", 9))]
    tables = root / "cmu_kids" / "tables"
    text(tables / "sentence.tbl", "1aa\t6\tThe cats, they ran.", "1ab\t6\tWhat do seals eat?")
    rows = [f"{name}\tSUM95\t3/{age}\t2\t1" for name, age in speakers]
    text(tables / "speaker.tbl", "ID\tLOC\tGR/AGE\tTOT\tBIN2", "--", *rows, "fzzz\tFP\t2/NA\t1\t0")
    lines = []
    for name, _ in speakers:
        for sentence, transcript in (("1aa1", "THE CATS THEY RAN"), ("1ab2", "[begin_noise] WHAT DO /S IY L Z/ EAT")):
            noise(root / "cmu_kids" / "kids" / name / "signal" / f"{name}{sentence}.sph", format="NIST", subtype="PCM_16")
            lines.append(f"{name}{sentence} {transcript}")
    noise(root / "cmu_kids" / "kids" / "faba" / "signal" / "faba1ac1.sph", format="NIST", subtype="PCM_16")
    text(tables / "transcrp.tbl", *lines, "fzzz1aa1 THE CATS", "mxxx1aa1 THE CATS")
    return root


def cslu_kids(root: Path) -> Path:
    """Two speakers of each of two grades; a verified mistake, an unknown prompt, a name that does not fit."""
    text(root / "docs" / "all.map", '00 "yes, please"', '0A "seven"', '0B ""')
    codes = []
    for grade, letter in ((0, "0"), (10, "a")):
        for number in ("01", "02"):
            speaker = f"ks{letter}{number}"
            for prompt, code in (("00", 1), ("0a", 3 if number == "02" else 2)):
                place = f"speech/scripted/{grade:02}/{grade}/{speaker}/{speaker}{prompt}0.wav"
                noise(root / place)
                codes.append((grade, f"../{place} {code}"))
            place = f"spontaneous/{grade:02}/{grade}/{speaker}/{speaker}xx0"
            noise(root / "speech" / f"{place}.wav", 31)
            text(root / "trans" / f"{place}.txt", "a b c <bn> my dog")
    for grade in (0, 10):
        text(root / "docs" / f"{grade:02}-verified.txt", *(line for one, line in codes if one == grade))
    noise(root / "speech" / "scripted" / "00" / "0" / "ks001" / "ks001zz0.wav")
    noise(root / "speech" / "scripted" / "00" / "0" / "ks001" / "other.wav")
    return root


def pf_star(root: Path) -> Path:
    """A child or two in each set, a recording without a transcript, one without a speaker, and a table of ages."""
    for name, speakers in {"train": ("b01", "b02"), "eval": ("b03",), "test": ("b04",)}.items():
        for speaker in speakers:
            text(noise(root / name / speaker / "words.wav").with_suffix(".txt"), "the price range is smaller")
    noise(root / "train" / "b02" / "digits.wav")
    noise(root / "test" / "loose.wav")
    text(root / "speakers.csv", "speaker_id,age,gender", "b01,5,f", "b02,unknown,m", "b03,9,", "b04,14,f")
    return root


def pasketti(root: Path) -> Path:
    """Four children in two buckets; one recording is missing, one transcript empty."""
    rows = []
    for number in range(8):
        child, bucket = f"C{number // 2}", ("3-4", "8-11")[number // 4]
        row = {"utterance_id": f"U{number}", "child_id": child, "session_id": f"S{number}", "age_bucket": bucket}
        noise(root / "audio" / f"U{number}.flac")
        rows.append(
            row | {"audio_path": f"audio/U{number}.flac", "audio_duration_sec": 0.5, "orthographic_text": "a red cat"}
        )
    rows[7]["orthographic_text"] = ""
    (root / "audio" / "U0.flac").unlink()
    text(root / "train_word_transcripts.jsonl", *map(json.dumps, rows))
    return root


def common_voice(root: Path) -> Path:
    """Two volunteers in each set, a teenager among them; the columns of a newer release."""
    header = "client_id\tpath\tsentence_id\tsentence\tsentence_domain\tup\tdown\tage\tgender\taccents\tvariant\tlocale"
    for place, name in enumerate(("train", "dev", "test")):
        rows = []
        for number, age in enumerate(("teens", "")):
            clip = f"common_voice_en_{place}{number}.mp3"
            noise(root / "clips" / clip, format="MP3")
            rows.append(f'c{place}{number}\t{clip}\tx\t"Two" cats, he said.\t\t2\t0\t{age}\tfemale_feminine\t\t\ten')
        text(root / f"{name}.tsv", header, *rows)
    return root


def kaldi(root: Path) -> Path:
    """ESPnet's folders, one of which is no set; a pipe, and a set with segments of one recording."""
    for name, speakers in {"train": ("a", "b"), "dev": ("c",), "test_far": ("d",)}.items():
        rows = {
            f"{one}-1": {"wav": str(noise(root / "wav" / f"{one}.wav")), "text": "two cats", "speaker": one}
            for one in speakers
        }
        rows |= {f"{one}-2": {"wav": f"sph2pipe {one}.sph |", "text": "two cats", "speaker": one} for one in speakers}
        data_folder(root / name, rows)
    long = {"long": {"wav": str(noise(root / "wav" / "long.wav", 3)), "text": "unused", "speaker": "e", "age": 7}}
    data_folder(root / "test", long)
    text(root / "test" / "segments", "e-1 long 0.25 1.5", "e-2 long 1.5 2.75", "e-3 long 2.75 4")
    text(root / "test" / "text", "e-1 one", "e-2 two cats", "e-3 three")
    text(root / "test" / "utt2spk", "e-1 e", "e-2 e", "e-3 e")
    return root


def huggingface(root: Path) -> Path:
    """An audio folder with ``metadata.csv``, six children and no split."""
    rows = []
    for number in range(12):
        noise(root / f"{number}.wav")
        rows.append(f"{number}.wav,two cats,child{number // 2},{5 + number // 4}")
    text(root / "metadata.csv", "file_name,text,speaker_id,age", *rows)
    return root


def manifest(root: Path) -> Path:
    """Two manifests named after sets, and a file that is none; parts of recordings, buckets for ages, missing files."""
    for name, speakers in {"train": ("a", "b"), "dev": ("c",)}.items():
        rows = []
        for speaker in speakers:
            noise(root / "wav" / f"{speaker}.wav", 2)
            row = {"audio_path": f"wav/{speaker}.wav", "speaker_id": speaker, "text": "two cats", "session": 1}
            rows.append({**row, "utterance_id": f"{speaker}-1", "age": 7})
            rows.append({**row, "utterance_id": f"{speaker}-2", "age_bucket": "5-6", "start": 0.5, "end": 1.25})
        rows.append({**rows[0], "utterance_id": f"{name}-gone", "audio_path": "wav/gone.wav"})
        text(root / f"{name}.jsonl", *map(json.dumps, rows))
    text(root / "words.csv", "no", "manifest")
    return root


#: How to make each corpus.
CORPORA: dict[str, Callable[[Path], Path]] = {
    one.__name__: one
    for one in (
        speechocean762,
        myst,
        cmu_kids,
        cslu_kids,
        pf_star,
        pasketti,
        common_voice,
        kaldi,
        huggingface,
        manifest,
    )
}
