"""kidasr: fine-tune Whisper on children's speech.

The command line's jobs as Python functions::

    import kidasr

    corpus = kidasr.load_corpus("train.jsonl", "dev.jsonl")
    config = kidasr.compose("data=manifest", "data.train=train.jsonl", "data.validation=dev.jsonl", "augment=specaugment")
    metrics = kidasr.train(config, run_dir="outputs/mine")
    texts = kidasr.transcribe("outputs/mine/model", corpus.validation)
    print(kidasr.score(corpus.validation, texts)["wer"])
    kidasr.evaluate("openai/whisper-tiny.en", "data=manifest", "data.validation=dev.jsonl", run_dir="outputs/stock")
    kidasr.compare(["outputs/mine", "outputs/stock"], "outputs/comparison")

The packages are listed in the order of the data flow. A package imports only packages before it:

- ``errors``, ``durable``, ``seeding``, ``processes``, ``installation``: used by all others.
- ``config``: schema and checks of a config; secrets.
- ``runs``: run folders and sweep folders; when two runs are the same experiment.
- ``corpus``: manifest → split → audio. Utterances, speakers, sets.
- ``features``: log-mel features and augmentation (H4); the interface of a recogniser.
- ``batching``: order (H5) and batches.
- ``model``: Whisper, and which of its parameters are trained (H3).
- ``recognition``: decode → score. Transcripts, WER and CER, overall and by age.
- ``evidence``: differences between runs, with intervals, tests and effects.
- ``report``: tables, figures, pages, loggers.
- ``training``: the Trainer, with checkpoints (H1), schedule and early stopping (H2).
- ``cli``: from the command line to the job. ``sweep``: many runs. ``jobs``: one module per job.

``embedded`` holds the default corpus and model, with the scripts that made them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from kidasr.api import Config
    from kidasr.corpus.manifest import Utterance
    from kidasr.corpus.sets import Sets
    from kidasr.recognition.score import Score

__version__ = "0.1.0"

__all__ = ["compare", "compose", "evaluate", "load_corpus", "score", "train", "transcribe"]


def load_corpus(train: str | Path, validation: str | Path | None = None, *overrides: str) -> Sets:
    """Read manifests, split them into sets and check every recording.

    Args:
        train, validation: Paths; without ``validation``, whole speakers are held out.
        overrides: Overrides of the ``data`` group, as on the command line: ``"data.fields.speaker_id=child_id"``.

    Returns:
        The sets. Every recording has been decoded, so its length is known.

    Raises:
        KidasrError: If a manifest or a recording can't be used.
    """
    from kidasr.api import load_corpus

    return load_corpus(train, validation, *overrides)


def compose(*overrides: str) -> Config:
    """Compose the config of a run and check it, without starting anything.

    Args:
        overrides: As on the command line: ``"augment=specaugment"``, ``"optim.learning_rate=1e-5"``,
            ``"--config-dir=mine"``.

    Returns:
        The config, an OmegaConf ``DictConfig`` that prints as YAML. :func:`train` takes it.

    Raises:
        KidasrError: If there is a mistake in it.
    """
    from kidasr.api import compose

    return compose(*overrides)


def train(*overrides: str | DictConfig, run_dir: str | Path) -> dict[str, Any]:
    """Do what ``kidasr OVERRIDES hydra.run.dir=RUN_DIR`` does, and return the content of ``metrics.json``.

    Args:
        overrides: As on the command line; or one config, as returned by :func:`compose`.
        run_dir: The run's folder. If it holds the finished run of this config, nothing is trained; if it holds an unfinished
            one, that is resumed.

    Raises:
        KidasrError: If there is a mistake in the config or the data.
        Stopped: After a signal; the same call resumes the run.
    """
    from kidasr.api import train

    return train(*overrides, run_dir=run_dir)


def evaluate(model: str | Path, *overrides: str, run_dir: str | Path) -> dict[str, Any]:
    """Score a model as it is, and return the content of ``metrics.json``: ``job=evaluate``.

    Args:
        model: A folder, or a name on the Hugging Face Hub.
        overrides: As on the command line: ``"data=manifest", "data.validation=dev.jsonl"``.
        run_dir: The folder to write to, which :func:`compare` takes beside those of trainings.

    Raises:
        KidasrError: If there is a mistake in the config or the data, or the model can't be used.
        Stopped: After a signal; the same call goes on.
    """
    from kidasr.api import evaluate

    return evaluate(model, *overrides, run_dir=run_dir)


def transcribe(model: str | Path, utterances: Sequence[Utterance], *overrides: str) -> list[str]:
    """Transcribe utterances with a Whisper checkpoint.

    Args:
        model: A folder, or a name on the Hugging Face Hub.
        utterances: Utterances of known length, as returned by :func:`load_corpus`.
        overrides: Overrides of ``model``, ``padding`` and ``trainer``: ``"padding=max_length"`` for a model that was not
            fine-tuned on short input, ``"trainer=gpu"`` for a GPU. The precision is that of ``job=transcribe``.

    Returns:
        One transcript per utterance, in the same order.
    """
    from kidasr.api import transcribe

    return transcribe(model, utterances, *overrides)


def score(utterances: Sequence[Utterance], transcripts: Sequence[str], language: str = "en") -> Score:
    """Error rates of transcripts as fractions, overall and by age, after Whisper's normalizer.

    Args:
        utterances: The utterances, with their references.
        transcripts: One per utterance, in the same order.
        language: The language code of both.
    """
    from kidasr.api import score

    return score(utterances, transcripts, language)


def compare(
    runs: Sequence[str | Path], output_dir: str | Path, baseline: str | None = None, on: str | None = None
) -> dict[str, Any]:
    """Compare finished runs, write the report, and return the content of ``comparison.json``.

    Args:
        runs: Run folders, folders of sweeps or of runs, or glob patterns.
        output_dir: The folder of the report.
        baseline, on: See ``conf/job/compare.yaml``.

    Raises:
        KidasrError: If there are fewer than two configurations, or the runs were scored on different sets.
    """
    from kidasr.api import compare

    return compare(runs, output_dir, baseline, on)
