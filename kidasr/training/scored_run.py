"""What all runs have in common that score a model: the start, the sets, transcripts, scores and the report."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

from accelerate.utils import broadcast_object_list, gather_object
from transformers import TrainingArguments

from kidasr.config.checks import ConfigError
from kidasr.corpus.corpus import Corpus
from kidasr.corpus.filters import marks_of
from kidasr.corpus.manifest import Utterance
from kidasr.corpus.sets import Sets
from kidasr.corpus.sizes import sizes_of
from kidasr.corpus.texts import report_texts
from kidasr.errors import KidasrError, Stopped
from kidasr.features.dataset import ChildSpeechDataset, check_text
from kidasr.features.padding import FULL_WINDOW, Padding
from kidasr.features.recogniser import Recogniser, Scoring
from kidasr.freed_memory import return_freed_memory
from kidasr.model.pretrained import Pretrained
from kidasr.recognition.doubts import OtherInput
from kidasr.recognition.predictions import in_order_of, known_predictions, write_predictions
from kidasr.recognition.score import Prediction, score
from kidasr.recognition.transcribe import Transcriber, shortest_first
from kidasr.report.ages_drawn import AgesDrawn
from kidasr.report.options import ReportOptions
from kidasr.runs.environment import DECIDES_BITS, environment
from kidasr.runs.files import (
    BAD_AUDIO,
    CHECKPOINTS,
    ENVIRONMENT,
    METRICS,
    MODEL,
    predictions_of,
    read_json,
    write_json,
)
from kidasr.runs.sweeps import SWEEP
from kidasr.training.checkpoint_folder import CheckpointFolder
from kidasr.training.device import (
    check_device,
    check_gpu_per_process,
    describe_device,
    half_precision,
    precision_name,
    prepare_cpu,
    prepare_gpu,
)
from kidasr.training.process_setup import leave_processes_at_exit, quiet_libraries
from kidasr.training.scorer import Scorer
from kidasr.training.stopping import StopSignals, end_workers
from kidasr.training.zero_shot import ZeroShot

log = logging.getLogger(__name__)

#: Utterances that are also transcribed with another length of input, to find out whether it is why a score is bad.
SAMPLE = 32


class ScoredRun:
    """A run that scores a model on every set of a corpus.

    Args:
        run_dir: The run folder.
        seed: The run's seed.
        data, model, padding, trainer, report: The groups of these names.
    """

    def __init__(
        self,
        run_dir: str,
        seed: int,
        data: Corpus,
        model: Pretrained,
        padding: Padding,
        trainer: Mapping[str, Any],
        report: ReportOptions,
    ):
        self.run_dir, self.seed = Path(run_dir), seed
        self.data, self.model, self.padding, self.report = data, model, padding, report
        self.trainer: Mapping[str, Any] = {**trainer, "dataloader_num_workers": trainer["dataloader_num_workers"] or 0}
        #: Numbers of the age groups of a model that depends on ages.
        self._age_groups: Mapping[str, int] | None = None

    def run(self) -> float:
        """Do the work, and report. Returns the validation WER, as a fraction."""
        with StopSignals() as signals:
            try:
                return self._run(signals)
            except Stopped as stopped:
                stopped.by = signals.received or stopped.by
                log.warning("stopped by %s, nothing is lost; the same command resumes: %s", stopped.by, self.run_dir)
                raise
            except Exception as error:
                if signals.received is None:
                    raise
                # A multirun would take an error for that of one run, and begin the next.
                unexpected = None if isinstance(error, KidasrError | OSError) else error
                log.error(
                    "stopped by %s, but then: %s; the same command resumes from the last checkpoint, if there is one: %s",
                    signals.received,
                    error,
                    self.run_dir,
                    exc_info=unexpected,
                )
                raise Stopped(signals.received) from error
            finally:
                end_workers()

    def _run(self, signals: StopSignals) -> float:
        raise NotImplementedError

    def _start(self) -> TrainingArguments:
        """Prepare the device and the processes, and agree on the run folder."""
        quiet_libraries()
        check_device(self.trainer["use_cpu"], self.trainer["tf32"])
        if self.trainer["use_cpu"]:
            prepare_cpu(self.trainer["num_threads"])
        else:
            check_gpu_per_process()
            prepare_gpu()
        arguments = self._training_arguments()
        describe_device(self.trainer["use_cpu"], half_precision(arguments))
        if arguments.world_size > 1:
            leave_processes_at_exit()
        # Each process composed its own config, and the time in the folder's name may differ by a second.
        (run_dir,) = broadcast_object_list([self.run_dir])
        self.run_dir, arguments.output_dir = run_dir, str(run_dir / CHECKPOINTS)
        return arguments

    def _training_arguments(self) -> TrainingArguments:
        """The Trainer's arguments; what the library refuses is the user's mistake."""
        try:
            return self._arguments()
        except (ValueError, ImportError) as error:
            raise ConfigError(f"trainer: {' '.join(str(error).split())}") from error

    def _arguments(self, **others: Any) -> TrainingArguments:
        """The Trainer's arguments, which also choose the device and join the processes.

        Args:
            others: Keys of the config, which have the Trainer's own names and are passed on unchanged.
        """
        workers = self.trainer["dataloader_num_workers"]
        arguments = TrainingArguments(
            output_dir=str(self.run_dir / CHECKPOINTS),
            seed=self.seed,
            report_to="none",
            remove_unused_columns=False,
            disable_tqdm=True,  # kidasr has its own bars
            # A copy to the GPU runs beside the computation only from pinned memory.
            dataloader_pin_memory=not self.trainer["use_cpu"],
            accelerator_config={"non_blocking": not self.trainer["use_cpu"]},
            dataloader_persistent_workers=workers > 0,  # keeps their audio caches
            dataloader_prefetch_factor=self.trainer["dataloader_prefetch_factor"] if workers else None,
            **others,
        )
        if arguments.n_gpu > 1:
            arguments._n_gpu = 1  # otherwise a single process would use all GPUs and multiply the batch
        return arguments

    def _load(self, arguments: TrainingArguments, trains: bool = True) -> tuple[Sets, Recogniser, dict[str, int]]:
        """The sets, without bad recordings, the model, and the number of recordings left out of each set."""
        sets = self.data.load(trains=trains)
        recogniser = self.model.load()
        return_freed_memory()  # of the files it was read from
        sets, skipped = self._check_audio(sets, arguments, recogniser.window_sec)
        return sets, recogniser, skipped

    def _check_audio(self, sets: Sets, arguments: TrainingArguments, window_sec: float) -> tuple[Sets, dict[str, int]]:
        """Leave out bad recordings; see :meth:`kidasr.corpus.audio_check.AudioCheck.check_run`."""
        return self.data.audio_check.check_run(
            sets,
            window_sec,
            self.run_dir / BAD_AUDIO,
            continued=CheckpointFolder(self.run_dir / CHECKPOINTS).newest_name() is not None,
            writes=arguments.should_save,
            gather=gather_object if arguments.world_size > 1 else lambda own: own,
            processes=arguments.world_size,
            process=arguments.process_index,
            shared_in=self._sweep_dir,
        )

    @property
    def _sweep_dir(self) -> Path | None:
        """The folder of the sweep that this run belongs to, for what its runs share; None for a run by itself."""
        return self.run_dir.parent if (self.run_dir.parent / SWEEP).exists() else None

    def _check_texts(self, sets: Sets, recogniser: Recogniser) -> dict[str, Any]:
        """Refuse texts that the model can't take; what is odd in the others, and what was done to them, is logged and
        returned."""
        longest = self.trainer["generation_max_length"]
        if longest is not None and longest > recogniser.max_tokens:
            positions = recogniser.max_tokens
            raise ConfigError(f"trainer.generation_max_length={longest}: the model's decoder has {positions} positions")
        for utterances in sets.named().values():
            check_text(utterances, recogniser, sets.lower_case)
        cleaning = self.data.cleaning
        odd = report_texts(sets.named(), recogniser.language, recogniser.scoring.normalize, cleaning)
        counts = {name: {"utterances": len(of), **sets.cleaned[name], **odd[name]} for name, of in sets.named().items()}
        return {"clean": cleaning.names, "sets": counts}

    def _check_references(self, scoring: Scoring, sets: Sets) -> None:
        """Refuse a set without a word to recognise."""
        for name, utterances in {**sets.tests, "validation": sets.evaluation}.items():
            if utterances and not any(scoring.normalize(utterance.text).strip() for utterance in utterances):
                key = name if name in ("validation", "test") else f"tests.{name}"
                raise KidasrError(f"data.{key}: every reference is empty after normalization, so WER is undefined")

    def _record_environment(self, arguments: TrainingArguments) -> None:
        """Write ``environment.json``; warn if a resumed run has a different environment, which may round differently."""
        path = self.run_dir / ENVIRONMENT
        now = environment(self.seed, precision_name(arguments))
        try:
            before = read_json(path) if path.exists() else now
            changed = [f"{key}: {before[key]}, now {now[key]}" for key in DECIDES_BITS if before[key] != now[key]]
        except (ValueError, KeyError):
            changed = [f"{path} can't be read"]
        if changed:
            log.warning("resuming, but the result may not be bit-identical to an uninterrupted run: %s", "; ".join(changed))
        write_json(path, now)

    def _transcriber(self, recogniser: Recogniser, arguments: TrainingArguments) -> partial[Transcriber]:
        return partial(Transcriber.configured, recogniser, self.trainer, seed=self.seed, autocast=half_precision(arguments))

    def _dataset(
        self,
        sets: Sets,
        utterances: Sequence[Utterance],
        recogniser: Recogniser,
        padding: Padding = FULL_WINDOW,
        **of_training: Any,
    ) -> ChildSpeechDataset:
        """The model's input of utterances.

        Args:
            sets: The sets.
            utterances: Of one of them.
            recogniser: Makes the input.
            padding: Its length.
            of_training: Arguments of the dataset that only a training set has.
        """
        cache_sec = self.data.cache_sec / max(1, self.trainer["dataloader_num_workers"])  # each worker has its own
        return ChildSpeechDataset(
            utterances,
            recogniser,
            seed=self.seed,
            lower_case=sets.lower_case,
            cache_sec=cache_sec,
            padding=padding,
            age_groups=self._age_groups,
            **of_training,
        )

    def _transcripts(
        self, scorer: Scorer, sets: Sets, utterances: Sequence[Utterance], padding: Padding
    ) -> list[Prediction]:
        """Transcripts of utterances, in their order."""
        dataset = self._dataset(sets, shortest_first(utterances), scorer.recogniser, padding)
        return in_order_of(utterances, scorer.transcribe(dataset))

    def _kept_transcripts(self, scorer: Scorer, sets: Sets, name: str, path: Path, model: str) -> list[Prediction]:
        """Transcripts of a set; a resumed run reads those that it had finished.

        Args:
            scorer: Transcribes.
            sets: The sets.
            name: The set's name.
            path: The file to read and write; not written if its folder is gone.
            model: The model in words, for the log.
        """
        utterances, writes = sets.scored()[name], scorer.args.should_save
        heard: list[Prediction] | None = scorer.first_process(known_predictions(path, utterances) if writes else None)
        if heard is None:
            log.info("set %s: transcribing with the %s", name, model)
            heard = self._transcripts(scorer, sets, utterances, self.padding)
            if writes and path.parent.is_dir():
                write_predictions(path, heard)
        return heard

    def _before_and_after(self, heard: Sequence[Prediction], before: ZeroShot | None) -> dict[str, Any]:
        """What ``metrics.json`` holds of a set."""
        from kidasr.evidence.before_after import change_of  # scipy, which training has no use for

        return {
            "zero_shot": before.score if before else None,
            "final": score(heard, self.data.buckets),
            "change": change_of(before.errors if before else None, heard),
        }

    def _on_other_input(
        self, scorer: Scorer, sets: Sets, heard: Sequence[Prediction], padding: Padding
    ) -> OtherInput | None:
        """The error rate of the same model on another length of input, on a sample of a set.

        Args:
            scorer: Has the model.
            sets: The sets.
            heard: The transcripts of one of them, as it is scored.
            padding: The other length.

        Returns:
            None if the sample has no words, or memory ran out.
        """
        place = {one.utterance_id: one for one in heard}
        utterances = [one for one in (sets.validation or next(iter(sets.tests.values()))) if one.utterance_id in place]
        sample = utterances[:: -(-len(utterances) // SAMPLE)]
        own = [place[one.utterance_id] for one in sample]
        words = sum(one.words for one in own)
        if not words:
            return None
        what = "short input" if padding.is_short else "the full window"
        log.info("the same model on %s: transcribing %d utterances", what, len(sample))
        try:
            there = self._transcripts(scorer, sets, sample, padding)
        except KidasrError as error:  # no memory for it is no reason to lose the run
            log.warning("the same model on %s was not tried: %s", what, error)
            return None
        wers = [sum(one.errors for one in of) / words for of in (there, own)]
        kind: Literal["short", "window"] = "short" if padding.is_short else "window"
        return {"input": kind, "utterances": len(sample), "wer": wers[0], "own_wer": wers[1]}

    def _about(self, sets: Sets, skipped: Mapping[str, int], texts: Mapping[str, Any]) -> dict[str, Any]:
        """What ``metrics.json`` holds of the data."""
        return {
            "skipped_audio": skipped,
            "texts": texts,
            "sets": sizes_of(sets.named(), self.data),
            "filtered_sets": {name: mark for name, one in sets.named().items() if (mark := marks_of(one))},
        }

    def _write_scores(
        self, metrics: Mapping[str, Any], transcripts: Mapping[str, Sequence[Prediction]], drawn: AgesDrawn | None = None
    ) -> None:
        """Write transcripts, report, the card of a model that the run has made, and metrics."""
        from kidasr.evidence.runs import make_run, with_evaluations
        from kidasr.report.model_card import write_card
        from kidasr.report.report import Report  # a tenth of a GB, which training has no use for

        for name, heard in transcripts.items():
            write_predictions(self.run_dir / predictions_of(name), heard)
        runs = {name: make_run(self.run_dir, metrics, map(asdict, heard), name) for name, heard in transcripts.items()}
        first = with_evaluations(runs.pop(next(iter(runs))))
        Report(self.report).write_run(self.run_dir, first, runs, drawn)
        if (self.run_dir / MODEL).is_dir():
            write_card(self.run_dir, first, runs, self.report.card)
        write_json(self.run_dir / METRICS, metrics)  # last: it marks the run as finished

    def _warn_of_empty(self, metrics: Mapping[str, Any]) -> None:
        """Warn about references without a word."""
        for name, one in {"": metrics, **metrics["tests"]}.items():
            if empty := one["final"]["empty_references"]:
                log.warning("%s%d references are empty after normalization", of_set(name), empty)


def of_set(name: str) -> str:
    """How a warning about a test set begins."""
    return f"set {name}: " if name else ""
