"""CTranslate2: the same model in 8-bit integers, for a CPU.

Its encoder has no mask for padding, so all utterances of a batch are of one length: each is followed by silence up to the
next of a few lengths. A transcript does not depend on the other utterances of its batch.
"""

from __future__ import annotations

import logging
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import PositiveFloat

from kidasr.errors import KidasrError
from kidasr.features.padding import FRAMES_PER_SEC, Padding
from kidasr.model.formats.ctranslate2_format import convert, import_ctranslate2, unusual_settings
from kidasr.recognition.backends.backend import Backend, Decoding, Transcribes

if TYPE_CHECKING:
    from transformers import WhisperFeatureExtractor

    from kidasr.corpus.manifest import Utterance
    from kidasr.features.dataset import Example
    from kidasr.features.recogniser import Recogniser
    from kidasr.model.whisper import Whisper

log = logging.getLogger(__name__)

ComputeType = Literal["float32", "float16", "bfloat16", "int16", "int8", "int8_float32", "int8_float16", "int8_bfloat16"]


class Ctranslate2(Backend):
    """Converts the model each time it begins, which takes about as long as loading it, and keeps no copy.

    Args:
        compute_type: Type of weights and matrix products.
        length_step_sec: Short input is followed by silence up to a multiple of this: longer steps make fuller batches.
    """

    def __init__(self, compute_type: ComputeType, length_step_sec: PositiveFloat):
        self.compute_type, self.length_step_sec = compute_type, length_step_sec

    def check(self, device: str) -> None:
        """See :meth:`Backend.check`."""
        ctranslate2 = import_ctranslate2("backend=ctranslate2")
        try:
            able = set(ctranslate2.get_supported_compute_types(device))
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise KidasrError(
                f"backend=ctranslate2: can't use the device {device}: {reason}; expected: trainer=cpu, or backend=torch"
            ) from error
        if self.compute_type not in able:
            raise KidasrError(
                f"backend.compute_type={self.compute_type}: this {device.upper().replace('CUDA', 'GPU')} can't do it "
                f"efficiently; expected: {', '.join(sorted(able))}"
            )

    def prepare(self, recogniser: Recogniser, padding: Padding, decoding: Decoding) -> Transcribes:
        """See :meth:`Backend.prepare`."""
        import torch

        from kidasr.model.whisper import Whisper

        if not isinstance(recogniser, Whisper):
            raise KidasrError(f"backend=ctranslate2: can't decode with a {type(recogniser).__name__}; expected: a Whisper")
        if decoding.fallback is not None:
            raise KidasrError(
                "backend=ctranslate2: has no temperature fallback; expected: trainer.generation_temperatures=null, or "
                "backend=torch"
            )
        if unusual := unusual_settings(recogniser):
            raise KidasrError(
                f"backend=ctranslate2: the model's generation settings have {unusual}, which it does not know; expected: "
                "backend=torch"
            )
        ctranslate2 = import_ctranslate2("backend=ctranslate2")
        begun = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="kidasr-") as folder:
            convert(recogniser, Path(folder), self.compute_type)
            torch.nn.Module.to(recogniser.model, "meta")  # frees the weights
            threads = decoding.num_threads or torch.get_num_threads()
            options = {"compute_type": self.compute_type, "intra_threads": threads}
            model = ctranslate2.models.Whisper(folder, device=decoding.device, **options)
        log.info(
            "backend: CTranslate2 %s, %s, converted in %.1f s",
            ctranslate2.__version__,
            self.compute_type,
            time.perf_counter() - begun,
        )
        return _WithCtranslate2(model, recogniser, _Stepped(padding, self.length_step_sec), decoding)


class _Stepped(Padding):
    """A padding whose lengths are multiples of a step."""

    def __init__(self, padding: Padding, step_sec: float):
        self.__dict__.update(padding.__dict__)
        self.step_frames = 2 * max(1, round(step_sec * FRAMES_PER_SEC / 2))

    def frames(self, samples: int, extractor: WhisperFeatureExtractor) -> int:
        """See :meth:`Padding.frames`."""
        wanted = super().frames(samples, extractor)
        return min(-(-wanted // self.step_frames) * self.step_frames, extractor.nb_max_frames)


class _WithCtranslate2:
    def __init__(self, model: Any, whisper: Whisper, padding: Padding, decoding: Decoding):
        self.model, self.whisper, self.padding, self.decoding = model, whisper, padding, decoding
        self.window_sec = whisper.window_sec
        longest = whisper.model.generation_config.max_length or whisper.max_tokens
        self.room = min(longest, whisper.max_tokens) - len(whisper.prompt)

    def __call__(self, utterances: Sequence[Utterance]) -> list[str]:
        found: dict[int, str] = {}
        for batch in self._batches(utterances):
            texts = self._transcribe([example for _, example in batch])
            found.update(zip((place for place, _ in batch), texts, strict=True))
        return [found[place] for place in range(len(utterances))]

    def _batches(self, utterances: Sequence[Utterance]) -> Iterator[list[tuple[int, Example]]]:
        """Utterances whose features are of one length, with their places."""
        from torch.utils.data import DataLoader

        from kidasr.features.dataset import ChildSpeechDataset

        dataset = ChildSpeechDataset(utterances, self.whisper, padding=self.padding)
        waiting: dict[int, list[tuple[int, Example]]] = defaultdict(list)
        loader = DataLoader(dataset, batch_size=None, num_workers=self.decoding.num_workers)
        for place, example in enumerate(loader):
            frames = example["input_features"].shape[1]
            waiting[frames].append((place, example))
            if len(waiting[frames]) == self.decoding.batch_size:
                yield waiting.pop(frames)
        yield from waiting.values()

    def _transcribe(self, examples: Sequence[Example]) -> list[str]:
        import ctranslate2
        import torch

        features = torch.stack([one["input_features"] for one in examples]).contiguous().numpy()
        bounds = [min(self._bound(one["duration_sec"]), self.room) for one in examples]
        prompt = list(self.whisper.prompt)
        results = self.model.generate(
            ctranslate2.StorageView.from_array(features),
            [prompt] * len(examples),
            beam_size=self.decoding.num_beams,
            patience=2 if self.decoding.num_beams > 1 else 1,  # ends a beam search later, nearly as transformers does
            # CTranslate2 generates half of this at most, and no more than the prompt leaves of it.
            max_length=max(2 * max(bounds), max(bounds) + len(prompt)),
        )
        rows = [one.sequences_ids[0][:bound] for one, bound in zip(results, bounds, strict=True)]
        return [text.strip() for text in self.whisper.processor.tokenizer.batch_decode(rows, skip_special_tokens=True)]

    def _bound(self, duration_sec: float) -> int:
        bound = max(1, math.ceil(duration_sec * self.decoding.max_tokens_per_sec))
        return bound if self.decoding.max_tokens is None else min(bound, self.decoding.max_tokens)
