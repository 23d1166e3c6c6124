"""The recipe that many begin with: transformers' ``Seq2SeqTrainer`` on 30-second windows. Nothing of kidasr is used.

    python docs/results/plain_recipe.py T.jsonl outputs/plain-1 --model DIR --test K.jsonl --adults A.jsonl --seed 1

Trains on a manifest, transcribes others, and writes for each of them the file NAME.jsonl, which ``job=score`` takes, and
``seconds.json``. Utterances are drawn at random, the learning rate rises for a tenth of the steps and falls to 0, and the
last weights are kept: no checkpoint is chosen, so no validation set is needed.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import soundfile
import torch
from tqdm import tqdm
from transformers import (
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    set_seed,
)

Row = dict[str, Any]


def rows_of(manifest: Path) -> list[Row]:
    """The lines of a manifest; paths of recordings are relative to it."""
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").split("\n") if line]
    return [{**row, "audio_path": str(manifest.parent / row["audio_path"])} for row in rows]


class Recordings(torch.utils.data.Dataset[Row]):
    """Log-mel features of 30 seconds, and the tokens of the text in lower case."""

    def __init__(self, rows: Sequence[Row], processor: Any):
        self.rows, self.processor = rows, processor

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> Row:
        samples, rate_hz = soundfile.read(self.rows[place]["audio_path"], dtype="float32")
        features = self.processor.feature_extractor(samples, sampling_rate=rate_hz).input_features[0]
        return {"input_features": features, "labels": self.processor.tokenizer(self.rows[place]["text"].lower()).input_ids}


class Collate:
    """Pads labels with -100; the first token is added again by the model."""

    def __init__(self, processor: Any):
        self.processor = processor

    def __call__(self, examples: Sequence[Row]) -> Any:
        features = [{"input_features": one["input_features"]} for one in examples]
        batch = self.processor.feature_extractor.pad(features, return_tensors="pt")
        labels = self.processor.tokenizer.pad([{"input_ids": one["labels"]} for one in examples], return_tensors="pt")
        batch["labels"] = labels.input_ids.masked_fill(labels.attention_mask.ne(1), -100)[:, 1:]
        return batch


def transcripts(model: Any, processor: Any, rows: Sequence[Row], batch_size: int) -> Iterator[Row]:
    """The id and the transcript of each recording, by greedy decoding of 30-second windows."""
    for start in tqdm(range(0, len(rows), batch_size), unit="batch"):
        batch = rows[start : start + batch_size]
        samples, (rate_hz, *_) = zip(*(soundfile.read(one["audio_path"], dtype="float32") for one in batch), strict=True)
        features = processor.feature_extractor(list(samples), sampling_rate=rate_hz, return_tensors="pt").input_features
        with torch.inference_mode():
            tokens = model.generate(features.to(model.device), max_new_tokens=model.config.max_target_positions // 2)
        texts = processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        yield from (
            {"utterance_id": one["utterance_id"], "hypothesis": text} for one, text in zip(batch, texts, strict=True)
        )


def main() -> None:
    """Train, transcribe and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, help="manifest to train on")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--model", required=True, help="pretrained checkpoint, English-only")
    parser.add_argument("--test", type=Path, required=True, help="manifest to transcribe")
    parser.add_argument("--adults", type=Path, help="another one")
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, help="default: PyTorch's own")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)

    set_seed(options.seed)
    model = WhisperForConditionalGeneration.from_pretrained(options.model, dtype=torch.float32)
    processor = WhisperProcessor.from_pretrained(options.model)
    rows = rows_of(options.train)
    steps = int(options.epochs * -(-len(rows) // options.batch_size))
    arguments = Seq2SeqTrainingArguments(
        str(options.out),
        max_steps=steps,
        per_device_train_batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        warmup_steps=steps // 10,
        logging_steps=max(1, steps // 20),
        save_strategy="no",
        report_to="none",
        seed=options.seed,
    )
    trainer = Seq2SeqTrainer(model, arguments, train_dataset=Recordings(rows, processor), data_collator=Collate(processor))
    seconds, begun = {}, time.perf_counter()
    trainer.train()
    seconds["training"] = time.perf_counter() - begun
    model.eval()
    for name in ("test", "adults"):
        if (manifest := getattr(options, name)) is None:
            continue
        begun = time.perf_counter()
        lines = [json.dumps(one, ensure_ascii=False) for one in transcripts(model, processor, rows_of(manifest), 16)]
        seconds[name] = time.perf_counter() - begun
        (options.out / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (options.out / "seconds.json").write_text(json.dumps(seconds, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
