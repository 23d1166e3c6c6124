"""Transcripts that the model finds very unlikely: often those of another recording."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from tqdm import tqdm

from kidasr.batching.collator import Collator
from kidasr.corpus.checks.findings import Examined, Finding, worst_first
from kidasr.corpus.manifest import Utterance
from kidasr.features.dataset import ChildSpeechDataset
from kidasr.features.padding import Padding
from kidasr.features.recogniser import Batch, Recogniser

#: Utterances whose features are kept at a time.
CHUNK = 64

#: An outlier is at least so much above the median, in nats per token.
LEAST_DISTANCE = 1.0


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


def unlikely(examined: Examined, recogniser: Recogniser, padding: Padding) -> Iterator[Finding]:
    """Decoded utterances whose loss is far above the corpus's median (in robust standard deviations)."""
    too_long = examined.vocabulary.exceeded_by
    places = [
        place
        for place, one in enumerate(examined.recordings)
        if one.sound is not None
        and examined.utterances[place].text.strip()
        and not too_long(examined.utterances[place].text)
    ]
    if not places:
        return
    found = losses([examined.utterances[place] for place in places], recogniser, padding, examined.lower_case)
    middle = float(np.median(found))
    spread = 1.4826 * float(np.median(np.abs(found - middle)))
    limit = middle + max(LEAST_DISTANCE, examined.limits.unlikely_deviations * spread)
    odd = {place: float(loss) for place, loss in zip(places, found, strict=True) if not loss <= limit}
    flagged = worst_first(odd, lambda loss: f"{loss:.1f} nats per token")
    yield Finding(
        "unlikely_text",
        "warning",
        flagged,
        f"{examined.share(flagged)} have a transcript that the model finds very unlikely: over {limit:.1f} nats per token, "
        f"with a median of {middle:.1f} (check.unlikely_deviations). Listen: is it the transcript of another recording? The "
        "youngest and the noisiest are here too, so leave none out unheard, and none out of a test set.",
    )
