"""Transcripts that the model finds very unlikely: often those of another recording."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from tqdm import tqdm

from kidasr.batching.collator import Collator
from kidasr.corpus.checks.findings import Examined, Finding, worst_first
from kidasr.corpus.manifest import Utterance
from kidasr.features.dataset import ChildSpeechDataset
from kidasr.features.padding import Padding
from kidasr.features.recogniser import Recogniser

#: An outlier is at least so much above the median, in nats per token.
LEAST_DISTANCE = 1.0


def losses(
    utterances: Sequence[Utterance], recogniser: Recogniser, padding: Padding, lower_case: bool
) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """The cross entropy of each transcript given its recording, in nats per token, shape ``(utterances,)``."""
    recogniser.model.eval()
    if torch.cuda.is_available():
        recogniser.model.to("cuda")
    device = next(recogniser.model.parameters()).device
    dataset = ChildSpeechDataset(utterances, recogniser, lower_case=lower_case, padding=padding)
    collate = Collator(recogniser, padding)
    found = []
    bar = tqdm(range(len(utterances)), desc="check: scoring transcripts", unit="utterance", leave=False, disable=None)
    with torch.inference_mode():
        for place in bar:  # one by one, since the model returns the mean loss of a batch
            batch = {name: value.to(device) for name, value in collate([dataset.example(place)]).items()}
            found.append(float(recogniser.model(**batch)["loss"]))
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
