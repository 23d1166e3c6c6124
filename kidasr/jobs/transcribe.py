"""The transcription job: recordings of any length, in files that others can use."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import PositiveFloat

from kidasr.config.job import Job
from kidasr.config.schema import Text
from kidasr.durable import write_text
from kidasr.errors import KidasrError
from kidasr.features.padding import Padding
from kidasr.model.as_trained import PIECE_SEC, InputLength, input_padding, pieces_as_trained
from kidasr.model.pretrained import Pretrained
from kidasr.recognition.backends.backend import Backend, Decoding, Transcribes
from kidasr.training.settings import Trainer

if TYPE_CHECKING:
    from kidasr.corpus.audio import AudioError, Samples
    from kidasr.corpus.manifest import Utterance
    from kidasr.corpus.segment import Span
    from kidasr.recognition.long_form import Transcript

log = logging.getLogger(__name__)

#: A line for each recording, written as soon as it is transcribed.
TRANSCRIPTS = "transcripts.jsonl"
#: Recordings that can't be read, and why.
FAILED = "failed.jsonl"


class Transcribe(Job):
    """Transcribe recordings of any length.

    Writes ``transcripts.jsonl`` while it works, so that the same command goes on where it was stopped, then the other
    formats.

    Args:
        output_dir: The folder to write to.
        input: Recordings, folders, glob patterns or manifests.
        formats: Files to write besides ``transcripts.jsonl``.
        max_sec: Longer recordings are cut at pauses into pieces of at most this length; None for a length that the model was
            trained on.
        min_pause_sec: The shortest pause to cut at.
        input_length: Length of the model's input: as it was trained, ``short`` (``padding``), or the full ``window``.
        model: The model.
        padding: What short input is.
        backend: The engine.
        trainer: Device, precision, batch size and decoding.

    Raises:
        KidasrError: If there are no recordings, none can be read, or the model can't be used.
    """

    reads = ("model",)

    def __init__(
        self,
        output_dir: str,
        input: Text | list[Text],
        formats: list[Literal["csv", "txt", "srt", "vtt"]],
        max_sec: PositiveFloat | None,
        min_pause_sec: PositiveFloat,
        input_length: InputLength,
        model: Pretrained,
        padding: Padding,
        backend: Backend,
        trainer: Trainer,
    ):
        self.output_dir = Path(output_dir)
        self.inputs = [input] if isinstance(input, str) else list(input)
        self.formats, self.max_sec, self.min_pause_sec = formats, max_sec, min_pause_sec
        self.input_length, self.model, self.padding = input_length, model, padding
        self.backend, self.trainer = backend, dict(trainer)

    def run(self) -> None:
        """Transcribe what is left, then write the formats."""
        from tqdm import tqdm

        from kidasr.corpus.audio import AudioError
        from kidasr.recognition.inputs import recordings_of

        recordings = recordings_of(self.inputs)
        from kidasr.recognition.long_form import read_transcripts  # slow to import

        self.output_dir.mkdir(parents=True, exist_ok=True)
        path = self.output_dir / TRANSCRIPTS
        known = read_transcripts(path)
        write_text(path, "".join(_line(key, one) for key, one in known.items()))  # without a line that a kill has cut off
        left = [one for one in recordings.values() if one.audio_key not in known]
        log.info("transcribe: %d recordings%s", len(recordings), f", {len(known)} of them done before" if known else "")
        failed: list[tuple[Utterance, AudioError]] = []
        with path.open("a", encoding="utf-8") as file, tqdm(total=len(left), unit="recording", disable=None) as bar:
            for one, found in self._transcribed(left) if left else ():
                bar.update()
                if isinstance(found, AudioError):
                    failed.append((one, found))
                    log.warning("passed over: %s", found)
                    continue
                known[one.audio_key] = found
                file.write(_line(one.audio_key, found))
                file.flush()
        rows = [{"audio_path": one.audio_path, "reason": str(error)} for one, error in failed]
        (self.output_dir / FAILED).write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        done = {name: known[one.audio_key] for name, one in recordings.items() if one.audio_key in known}
        if not done:
            raise KidasrError(f"input: none of {len(recordings)} recordings can be read; see {self.output_dir / FAILED}")
        self._write(done)
        hours = sum(one.duration_sec for one in done.values()) / 3600
        passed = f"; {len(failed)} that can't be read are in {FAILED}" if failed else ""
        log.info("transcripts of %d recordings, %.2f hours: %s%s", len(done), hours, self.output_dir, passed)

    def prepare(self) -> Transcribes:
        """Check the device, load the model and hand it to the engine.

        Raises:
            KidasrError: If the device, the model or the engine can't be used.
        """
        import torch

        from kidasr.model.fallback import fallback_of
        from kidasr.training.device import check_device, describe_device, prepare_cpu, prepare_gpu

        keys = self.trainer
        device = "cpu" if keys["use_cpu"] else "cuda"
        check_device(keys["use_cpu"], keys["tf32"])
        self.backend.check(device)
        if keys["use_cpu"]:
            prepare_cpu(keys["num_threads"])
        else:
            prepare_gpu()
        half = torch.bfloat16 if keys["bf16"] else torch.float16 if keys["fp16"] else None
        if self.backend.is_torch:
            describe_device(keys["use_cpu"], half)
        recogniser = self.model.load()
        padding = input_padding(self.input_length, getattr(self.model, "name_or_path", ""), self.padding)
        log.info("padding: %s", padding.describe())
        decoding = Decoding(
            device,
            keys["per_device_eval_batch_size"],
            keys["generation_num_beams"],
            keys["generation_max_tokens_per_sec"],
            keys["generation_max_length"],
            half,
            keys["num_threads"],
            keys["dataloader_num_workers"] or 0,
            fallback_of(keys, seed=0),
        )
        return self.backend.prepare(recogniser, padding, decoding)

    def _transcribed(self, recordings: list[Utterance]) -> Iterator[tuple[Utterance, Transcript | AudioError]]:
        """Each recording with its transcript, or with why it can't be read."""
        from kidasr.corpus.audio import SAMPLE_RATE_HZ
        from kidasr.corpus.segment import Span
        from kidasr.recognition.long_form import transcribe_recordings
        from kidasr.recognition.speech import speech_detector

        max_sec = self.max_sec or pieces_as_trained(getattr(self.model, "name_or_path", ""))
        log.info("recordings of more than %.1f s are cut at pauses", max_sec)

        warn_once = cache(log.warning)

        @cache
        def detector() -> Callable[[Samples], list[Span]]:  # for long recordings alone
            return speech_detector(self.min_pause_sec, f"a recording of more than max_sec={max_sec:g}")

        def find_speech(samples: Samples) -> list[Span]:
            try:
                return detector()(samples)
            except KidasrError as error:
                length_sec = len(samples) / SAMPLE_RATE_HZ
                if self.max_sec is not None or length_sec > PIECE_SEC:
                    raise
                warn_once(f"{error}; without it, recordings of up to {PIECE_SEC:g} s are transcribed whole")
                return [Span(0.0, length_sec)]

        yield from transcribe_recordings(recordings, self.prepare(), max_sec, find_speech)

    def _write(self, transcripts: Mapping[str, Transcript]) -> None:
        from kidasr.recognition.transcript_files import write_csv, write_each

        for kind in self.formats:
            if kind == "csv":
                write_csv(self.output_dir, transcripts)
            else:
                write_each(self.output_dir, kind, transcripts)


def _line(key: str, transcript: Transcript) -> str:
    from kidasr.recognition.long_form import as_row

    return json.dumps(as_row(key, transcript), ensure_ascii=False) + "\n"
