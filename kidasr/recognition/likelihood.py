"""Transcripts that the model finds very unlikely: often those of another recording."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from kidasr.batching.collator import Collator
from kidasr.corpus.checks.findings import Examined, Finding, worst_first
from kidasr.corpus.checks.texts import normalized
from kidasr.corpus.manifest import Utterance
from kidasr.features.dataset import ChildSpeechDataset
from kidasr.features.padding import Padding
from kidasr.features.recogniser import Batch, Recogniser

#: Utterances whose features are kept at a time.
CHUNK = 64


def losses(
    utterances: Sequence[Utterance], recogniser: Recogniser, padding: Padding, lower_case: bool
) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """The cross entropy of each transcript given its recording, in nats per token, shape ``(utterances,)``."""
    model = recogniser.model.eval()
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        model.to("cuda")
    device = next(model.parameters()).device
    dataset = ChildSpeechDataset(utterances, recogniser, lower_case=lower_case, padding=padding)
    collate = Collator(recogniser, padding)

    def loss(batch: Batch) -> float:
        with torch.inference_mode():
            return float(model(**{name: value.to(device) for name, value in batch.items()})["loss"])

    # One by one, since the model returns the mean loss of a batch; several at once, each on one core, since short input does
    # not occupy more. The tokenizer is not for several threads.
    threads = torch.get_num_threads()
    workers = 1 if on_gpu else threads
    found: list[float] = []
    torch.set_num_threads(1)
    try:
        with (
            ThreadPoolExecutor(workers) as pool,
            tqdm(
                total=len(utterances), desc="check: scoring transcripts", unit="utterance", leave=False, disable=None
            ) as bar,
        ):
            for start in range(0, len(utterances), CHUNK):
                places = range(start, min(start + CHUNK, len(utterances)))
                found += pool.map(loss, [collate([dataset.example(place)]) for place in places])
                bar.update(len(places))
    finally:
        torch.set_num_threads(threads)
    return np.array(found)


def own_and_other(
    utterances: Sequence[Utterance], recogniser: Recogniser, padding: Padding, lower_case: bool
) -> "tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.float64]]] | None":
    """The loss of each transcript with its own recording and with another one, which has another text.

    Returns:
        Both in nats per token, shape ``(utterances,)``; None if all transcripts are the same.
    """
    others = _others([normalized(one.text) for one in utterances])
    if others is None:
        return None
    swapped = [replace(utterances[other], text=one.text) for one, other in zip(utterances, others, strict=True)]
    return losses(utterances, recogniser, padding, lower_case), losses(swapped, recogniser, padding, lower_case)


def _others(texts: Sequence[str]) -> list[int] | None:
    """For each text the place of another one, half a corpus away or further; None if there is none."""
    if len(set(texts)) < 2:
        return None
    steps = range(len(texts) // 2, len(texts) + len(texts) // 2)
    at = (((place + step) % len(texts) for step in steps) for place in range(len(texts)))
    return [next(other for other in places if texts[other] != text) for text, places in zip(texts, at, strict=True)]


def unlikely(examined: Examined, recogniser: Recogniser, padding: Padding) -> Iterator[Finding]:
    """Decoded utterances whose recording explains little of their transcript.

    It explains the share of the transcript's loss that goes away if it is scored with this recording and not with another
    one. Rare words and unusual voices make both losses larger, and so cancel.
    """
    too_long, limit = examined.vocabulary.exceeded_by, examined.limits.min_explained
    places = [
        place
        for place, one in enumerate(examined.recordings)
        if one.sound is not None
        and examined.utterances[place].text.strip()
        and not too_long(examined.utterances[place].text)
    ]
    scored = own_and_other([examined.utterances[place] for place in places], recogniser, padding, examined.lower_case)
    if scored is None:
        return
    own, other = scored
    explained = 1 - own / np.maximum(other, 1e-9)
    odd = {place: float(share) for place, share in zip(places, explained, strict=True) if not share >= limit}
    flagged = worst_first(odd, lambda share: f"{100 * max(share, 0):.0f}% explained", descending=False)
    yield Finding(
        "unlikely_text",
        "warning",
        flagged,
        f"{examined.share(flagged)} have a transcript that the model finds hardly more likely with its own recording than "
        f"with another one: that explains less than {100 * limit:g}% of its loss (check.min_explained); half of all have "
        f"{100 * float(np.median(explained)):.0f}% or more. Listen: is it the transcript of another recording? The youngest "
        "and the noisiest are here too, so leave none out unheard, and none out of a test set.",
    )
