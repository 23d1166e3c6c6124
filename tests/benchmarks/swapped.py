"""How many swapped transcripts ``job=check check.model=true`` finds: `python -m tests.benchmarks.swapped`.

Twenty of 200 real children's utterances get the transcript of another one; tiny.en scores them. Prints precision and recall
of the check's criterion, and of the loss alone (four robust standard deviations above the median), over 200 draws of the
twenty. Each utterance is scored once with its own transcript and once with another.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import operator
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from hydra.utils import instantiate

from kidasr.corpus.checks.texts import normalized
from kidasr.corpus.manifest import read_manifest
from kidasr.recognition.likelihood import own_and_other
from tests.conftest import KIDS, TINY_EN, composed

Array = np.ndarray[Any, Any]

UTTERANCES, SWAPPED, DRAWS = 200, 20, 200


def far_above(loss: Array) -> Array:
    middle = np.median(loss)
    far: Array = loss > middle + max(1.0, 4 * 1.4826 * float(np.median(np.abs(loss - middle))))
    return far


def main() -> None:
    cfg = composed("job=check", "data=manifest", f"data.train={KIDS / 'dev.jsonl'}", f"model.name_or_path={TINY_EN}")
    data, padding, recogniser = instantiate(cfg.data), instantiate(cfg.padding), instantiate(cfg.model).load()
    drawn = random.Random(1)
    right = drawn.sample(read_manifest(data.train, data.fields, data.buckets), UTTERANCES)
    wrong = []
    for one in right:
        others = [other for other in right if normalized(other.text) != normalized(one.text)]
        wrong.append(replace(one, text=drawn.choice(others).text))
    scored = [own_and_other(one, recogniser, padding, True) for one in (right, wrong)]
    loss = [own for own, _ in filter(None, scored)]
    explained = [1 - own / other for own, other in filter(None, scored)]
    rng = np.random.default_rng(1)
    swaps = [rng.permutation(UTTERANCES) < SWAPPED for _ in range(DRAWS)]

    def tell(name: str, rule: Callable[[Array], Array], scores: Sequence[Array]) -> None:
        flags = [rule(np.where(swapped, scores[1], scores[0])) for swapped in swaps]
        found = [(flagged & swapped).sum() for flagged, swapped in zip(flags, swaps, strict=True)]
        precision = np.mean([right / max(1, flagged.sum()) for right, flagged in zip(found, flags, strict=True)])
        print(f"{name:28} precision {precision:.2f}, recall {np.mean(found) / SWAPPED:.2f}")

    for limit in (0.05, 0.1, 0.15, 0.2, 0.3):
        tell(f"explained below {limit:g}", partial(operator.gt, limit), explained)
    tell("loss far above the median", far_above, loss)


if __name__ == "__main__":
    main()
