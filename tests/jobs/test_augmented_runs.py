"""Runs with every augmentation at once, and with none that acts."""

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kidasr.errors import Stopped
from kidasr.features.dataset import ChildSpeechDataset
from kidasr.training.trainer import ChildSpeechTrainer
from tests.conftest import job, read_json
from tests.features.augmentations.everything import ALL, WAVEFORMS

EVERYTHING = f"augment=[{','.join(ALL)}]"

#: One utterance of six is 1.4 s or longer, so that two of them fit into the micro model's window of 3 s.
SHORT = (
    "debug=smoke",
    "report=none",
    "trainer.zero_shot=false",
    "trainer.dataloader_num_workers=0",  # a worker's utterances would not be seen here
    "data.tests=null",
    "data.limit_train=8",
    "data.limit_validation=2",
    "trainer.train_batch_size=4",
    "trainer.max_steps=4",
    "schedule.warmup_steps=0",
    "padding=longest",
    "augment.concat.p=1",
    "augment.concat.pause_sec=0",
    "augment.noise.p=1",
)


def test_a_run_with_all_of_them_resumes_exactly_and_changes_the_training_set_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen: dict[bool, set[tuple[str, float]]] = {True: set(), False: set()}
    original = ChildSpeechDataset.example

    def record(self: ChildSpeechDataset, place: int, epoch: int = 0, view: int = 0) -> Any:
        found = original(self, place, epoch, view)
        plain = self.utterances[place].known_duration_sec
        seen[self.augment is not None].add((self.utterances[place].utterance_id, round(found["duration_sec"] / plain, 2)))
        return found

    with monkeypatch.context() as recording, caplog.at_level(logging.INFO):
        recording.setattr(ChildSpeechDataset, "example", record)
        job(tmp_path / "one", EVERYTHING, *SHORT).run()
    assert {ratio for _, ratio in seen[False]} == {1.0}, "evaluation sets are as they were recorded"
    assert min(ratio for _, ratio in seen[True]) < 1 < 1.3 < max(ratio for _, ratio in seen[True])
    assert "augment: speed: 0.9, 1, 1.1 times as fast, two utterances of three" in caplog.text
    job(tmp_path / "two", EVERYTHING, *SHORT).run()
    (tmp_path / "one" / "metrics.json").unlink()
    for step in (3, 4):
        shutil.rmtree(tmp_path / "one" / "checkpoints" / f"checkpoint-{step}")
    job(tmp_path / "one", EVERYTHING, *SHORT).run()
    last = "checkpoints/checkpoint-4/model.safetensors"
    one, two = (load_file(tmp_path / name / last) for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in two)
    assert read_json(tmp_path / "one" / "metrics.json") == read_json(tmp_path / "two" / "metrics.json")


def test_with_every_p_at_0_a_run_is_one_without_augmentation_to_the_bit(tmp_path: Path) -> None:
    names = ("concat", *WAVEFORMS, "vtlp", "time_warp")
    short = [one for one in SHORT if not one.startswith("augment")]
    job(tmp_path / "off", f"augment=[{','.join(names)}]", *(f"augment.{name}.p=0" for name in names), *short).run()
    job(tmp_path / "none", *short).run()
    off, none = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("off", "none"))
    assert all(torch.equal(off[name], none[name]) for name in none)


def test_a_run_joins_what_its_curriculum_lets_take_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches and data set have one plan."""
    trainers: list[ChildSpeechTrainer] = []

    def stop(self: ChildSpeechTrainer, checkpoint: Path | None) -> None:
        trainers.append(self)
        raise Stopped("SIGTERM")

    monkeypatch.setattr(ChildSpeechTrainer, "train_from", stop)
    short = [one for one in SHORT if "noise" not in one]
    with pytest.raises(Stopped):
        job(tmp_path, *short, "augment=concat", "augment.concat.speaker=any", "curriculum=age_staged", "adapter=age").run()
    batches, dataset = trainers[0].batches, trainers[0].train_dataset
    assert batches.joining is not None and dataset.joining is batches.joining
    ages = [one.age_bucket for one in dataset.utterances]
    assert len(set(ages)) > 2
    for place in range(len(ages)):
        assert {ages[other] for other in batches.joining.partners(place, 9)} <= {ages[place]}
