"""LoRA of a real Whisper on real children: the merged checkpoint writes what the unmerged model wrote; exact resume."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import WhisperForConditionalGeneration as StockWhisper

from kidasr.batching.collator import Collator
from kidasr.features.dataset import ChildSpeechDataset
from kidasr.features.padding import Padding
from kidasr.features.recogniser import Recogniser
from kidasr.model.pretrained import PretrainedWhisper
from kidasr.recognition.transcribe import Transcriber
from kidasr.training.own_weights import OWN_WEIGHTS, OwnWeights
from tests.conftest import TINY_EN, job, read_json, real_data
from tests.jobs.test_train import same, weights
from tests.test_real_data import REAL

pytestmark = [real_data, pytest.mark.real_data]

UTTERANCES = 48
RUN = (
    *REAL,
    "adapter=lora",
    "padding=longest",
    "trainer.max_steps=24",
    "trainer.train_batch_size=8",
    "data.limit_train=192",
    f"data.limit_validation={UTTERANCES}",
    "optim.learning_rate=1e-3",
    "schedule.warmup_steps=4",
    "checkpoint.eval_steps=12",
    "report=none",
)


def texts(recogniser: Recogniser, dataset: ChildSpeechDataset, autocast: torch.dtype | None = None) -> list[str]:
    return Transcriber(recogniser, 16, 1, 25, autocast=autocast)(dataset).texts


def logits(recogniser: Recogniser, dataset: ChildSpeechDataset, padding: Padding) -> torch.Tensor:
    batch = Collator(recogniser, padding)([dataset[place] for place in range(8)])
    with torch.no_grad():
        found: torch.Tensor = recogniser.model.eval()(**batch).logits
    return found


@pytest.mark.minutes
def test_a_trained_adapter_writes_the_same_merged_and_unmerged_and_is_resumed_exactly(tmp_path: Path) -> None:
    run = job(tmp_path, *RUN)
    run.run()
    metrics = read_json(tmp_path / "metrics.json")
    assert metrics["final"]["wer"] < metrics["zero_shot"]["wer"]
    checkpoint = tmp_path / "checkpoints" / f"checkpoint-{metrics['best_step']}"
    size = sum(path.stat().st_size for path in checkpoint.iterdir())
    assert 4e6 < (checkpoint / OWN_WEIGHTS).stat().st_size < size < 15e6
    assert size < 0.1 * (tmp_path / "model" / "model.safetensors").stat().st_size

    adapter, data, padding = (run.arguments[name] for name in ("adapter", "data", "padding"))
    unmerged = PretrainedWhisper(str(TINY_EN), "en", "transcribe").load()
    adapter.wrap(unmerged.model)
    OwnWeights(unmerged.model, adapter.own_weights(unmerged.model)).load(checkpoint)
    merged = PretrainedWhisper(str(tmp_path / "model"), "en", "transcribe").load()
    dataset = ChildSpeechDataset(data.load().validation[:UTTERANCES], merged, None, 1, True, 0, padding)
    one, other = (logits(model, dataset, padding) for model in (unmerged, merged))
    print("largest difference of a logit:", float((one - other).abs().max()), "of", float(one.abs().max()))
    torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-5)
    heard = texts(unmerged, dataset)
    assert len(heard) == UTTERANCES and heard == texts(merged, dataset)
    half = [texts(model, dataset, torch.bfloat16) for model in (unmerged, merged)]
    print("transcripts that differ in bfloat16:", sum(a != b for a, b in zip(*half, strict=True)), "of", UTTERANCES)
    print("unmerged, float32 against bfloat16:", sum(a != b for a, b in zip(heard, half[0], strict=True)))
    print("merged, float32 against bfloat16:", sum(a != b for a, b in zip(heard, half[1], strict=True)))
    print("WER", metrics["zero_shot"]["wer"], metrics["final"]["wer"], "checkpoint MB", size / 1e6)
    plain = StockWhisper.from_pretrained(tmp_path / "model")
    assert plain.proj_out.weight is plain.model.decoder.embed_tokens.weight

    # killed after the first checkpoint
    whole = weights(tmp_path)
    shutil.rmtree(tmp_path / "checkpoints" / "checkpoint-24")
    (tmp_path / "metrics.json").unlink()
    job(tmp_path, *RUN).run()
    assert same(whole, weights(tmp_path)) and read_json(tmp_path / "metrics.json") == metrics
