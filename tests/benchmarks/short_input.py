"""What the pretrained model makes of short input: `python -m tests.benchmarks.short_input`.

A stock Whisper knows nothing but windows of 30 seconds. `curriculum=loss` sorts by its losses, and `objective=kl` learns
from its outputs. tiny.en scores the transcripts of 300 real children's utterances on the full window, and on input that ends
some time after the recording. Prints, for each length of that silence: CPU seconds per utterance; the loss per token, its
rank correlation with the loss on the full window and with duration and age, and the share of utterances in the same tenth;
and of the distribution of each token, its divergence from that on the full window, how often both have the same most likely
token, how often that is the transcript's, and the probability of the end of the transcript where it is.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import random
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from scipy.stats import spearmanr
from torch.nn import functional

from kidasr.batching.collator import Collator
from kidasr.corpus.manifest import Utterance, read_manifest
from kidasr.features.dataset import ChildSpeechDataset
from kidasr.features.padding import FULL_WINDOW, Padding
from kidasr.features.recogniser import IGNORED_LABEL, Recogniser
from tests.conftest import KIDS, TINY_EN, composed

#: Silence after the recording, in seconds; None: up to the full window. The first is the reference.
SILENCES_SEC = (None, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
BATCH = 8
HEADINGS = (
    "cpu_sec",
    "loss",
    "rank_of_full",
    "of_duration",
    "of_age",
    "same_tenth",
    "divergence",
    "same_token",
    "right",
    "end",
)


def padding_of(silence_sec: float | None) -> Padding:
    return FULL_WINDOW if silence_sec is None else Padding("longest", silence_sec, mask=True, group_by_length=True)


@torch.inference_mode()
def outputs(
    utterances: Sequence[Utterance], recogniser: Recogniser, padding: Padding
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The logarithms of the probabilities of each token of each utterance, and the tokens."""
    dataset, collate = (
        ChildSpeechDataset(utterances, recogniser, lower_case=True, padding=padding),
        Collator(recogniser, padding),
    )
    found, tokens = [], []
    for start in range(0, len(utterances), BATCH):
        batch = collate([dataset[place] for place in range(start, min(start + BATCH, len(utterances)))])
        is_token = batch["labels"] != IGNORED_LABEL
        logits = recogniser.model(**batch, token_logits=True).logits.float().log_softmax(-1)
        found += [one.half() for one in logits.split(is_token.sum(1).tolist())]
        tokens += [row[real] for row, real in zip(batch["labels"], is_token, strict=True)]
    return found, tokens


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--utterances", type=int, default=300)
    options = parser.parse_args()
    cfg = composed("job=check", "data=manifest", f"data.train={KIDS / 'train.jsonl'}", f"model.name_or_path={TINY_EN}")
    data, recogniser = instantiate(cfg.data), instantiate(cfg.model).load()
    recogniser.model.eval()
    read = read_manifest(data.train, data.fields, data.buckets)
    utterances = sorted(random.Random(1).sample(read, options.utterances), key=lambda one: one.known_duration_sec)
    duration_sec = np.array([one.known_duration_sec for one in utterances])
    ages: Any = np.array([one.age for one in utterances], dtype=float)
    print(f"{len(utterances)} utterances, median {np.median(duration_sec):.1f} s, ages {ages.min():g} to {ages.max():g}")
    print("silence_sec", *HEADINGS)
    reference: tuple[list[torch.Tensor], np.ndarray[Any, Any]] | None = None
    for silence_sec in SILENCES_SEC:
        begun = time.process_time()
        logs, tokens = outputs(utterances, recogniser, padding_of(silence_sec))
        cpu_sec = (time.process_time() - begun) / len(utterances)
        pairs = list(zip(logs, tokens, strict=True))
        losses = np.array([float(functional.nll_loss(log.float(), right)) for log, right in pairs])
        right = np.concatenate([log.argmax(-1) == token for log, token in pairs]).mean()
        reference = reference or (logs, losses)
        pairs = list(zip(logs, reference[0], strict=True))
        divergence = np.concatenate(
            [functional.kl_div(one.float(), full.float(), log_target=True, reduction="none").sum(-1) for one, full in pairs]
        ).mean()
        alike = np.concatenate([one.argmax(-1) == full.argmax(-1) for one, full in pairs]).mean()
        tenths = [np.argsort(np.argsort(one)) * 10 // len(one) for one in (losses, reference[1])]
        ranks = [spearmanr(losses, other).statistic for other in (reference[1], duration_sec, ages)]
        end = np.mean([float(log[-1, token[-1]].float().exp()) for log, token in zip(logs, tokens, strict=True)])
        row = [cpu_sec, losses.mean(), *ranks, (tenths[0] == tenths[1]).mean(), divergence, alike, right, end]
        cells = (f"{one:{len(heading)}.2f}" for one, heading in zip(row, HEADINGS, strict=True))
        print(f"{silence_sec or 'full':>11}", *cells, flush=True)


if __name__ == "__main__":
    main()
