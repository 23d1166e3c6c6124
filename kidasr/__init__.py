"""kidasr: fine-tune Whisper on children's speech.

What the command line does, from Python::

    import kidasr

    corpus = kidasr.load_corpus("train.jsonl", "dev.jsonl")
    metrics = kidasr.train("data=manifest", "data.train=train.jsonl", "data.validation=dev.jsonl", run_dir="outputs/mine")
    texts = kidasr.transcribe("outputs/mine/model", corpus.validation)
    print(kidasr.score(corpus.validation, texts)["wer"])
    kidasr.compare(["outputs/mine", "outputs/other"], "outputs/comparison")

The packages stand in the order in which data flows, and a package imports only packages before it:

- ``errors``, ``durable``, ``seeding``, ``processes``: what all others use.
- ``config``: what may be said: types and ranges, secrets.
- ``runs``: a run folder and what is in it; what makes two runs the same experiment; sweep folders.
- ``corpus``: manifest → split → audio. Which utterances, whose, in which set.
- ``features``: log-mel features and augmentation (H4); what a recogniser is.
- ``batching``: order (H5) and batches.
- ``model``: Whisper, and which of its parameters train (H3).
- ``recognition``: decode → score. Transcripts, WER and CER, overall and by age.
- ``evidence``: how sure a difference between runs is: intervals, tests, effects.
- ``report``: tables, figures, pages, loggers.
- ``training``: the Trainer, with checkpoints (H1), schedule and early stopping (H2).
- ``cli``: from the command line to the job. ``sweep``: many runs. ``jobs``: one module a job.

``embedded`` holds the corpus and the model that the defaults use, with the scripts that made them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kidasr.corpus.manifest import Utterance
    from kidasr.corpus.sets import Sets
    from kidasr.recognition.score import Score

__version__ = "0.1.0"

__all__ = ["compare", "load_corpus", "score", "train", "transcribe"]


def load_corpus(train: str | Path, validation: str | Path | None = None, *overrides: str) -> Sets:
    """Read manifests, divide and check them.

    Args:
        train, validation: Paths; without ``validation``, speakers are held out.
        overrides: Of the ``data`` group, as on the command line: ``"data.fields.speaker_id=child_id"``.

    Returns:
        The sets. The length of each recording is known, and every recording was decoded.

    Raises:
        KidasrError: For a manifest or a recording that can't be used.
    """
    from kidasr.api import load_corpus

    return load_corpus(train, validation, *overrides)


def train(*overrides: str, run_dir: str | Path) -> dict[str, Any]:
    """Do what ``python run.py OVERRIDES hydra.run.dir=RUN_DIR`` does, and return what ``metrics.json`` holds.

    Raises:
        KidasrError: For a mistake in the config or in the data.
        Stopped: After a signal; the same call continues.
    """
    from kidasr.api import train

    return train(*overrides, run_dir=run_dir)


def transcribe(model: str | Path, utterances: Sequence[Utterance], *overrides: str) -> list[str]:
    """Transcribe utterances with a Whisper checkpoint.

    Args:
        model: A folder, or a name on the Hugging Face hub.
        utterances: Of known length, as :func:`load_corpus` returns them.
        overrides: Of ``model``, ``padding`` and ``trainer``: ``"padding=max_length"`` for a model that is not fine-tuned on
            short input.

    Returns:
        A transcript of each, in order.
    """
    from kidasr.api import transcribe

    return transcribe(model, utterances, *overrides)


def score(utterances: Sequence[Utterance], transcripts: Sequence[str], language: str = "en") -> Score:
    """Error rates of transcripts, overall and by age, as fractions, after Whisper's normalizer.

    Args:
        utterances: With their references.
        transcripts: In the same order.
        language: Code of the language of both.
    """
    from kidasr.api import score

    return score(utterances, transcripts, language)


def compare(runs: Sequence[str | Path], output_dir: str | Path, baseline: str | None = None) -> dict[str, Any]:
    """Compare finished runs, write the report, and return what ``comparison.json`` holds.

    Args:
        runs: Run folders, or patterns.
        output_dir: Where the report goes.
        baseline: See ``conf/job/compare.yaml``.

    Raises:
        KidasrError: If there are fewer than two configurations, or the runs are of different test sets.
    """
    from kidasr.api import compare

    return compare(runs, output_dir, baseline)
