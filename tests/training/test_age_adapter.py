"""A run with an adapter for each age group, through the real job."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from kidasr.errors import KidasrError, Stopped
from kidasr.features.dataset import ChildSpeechDataset
from kidasr.model.age_lora import AGE_ADAPTERS, group_folder
from kidasr.model.pretrained import PretrainedWhisper
from kidasr.recognition.transcribe import Transcriber
from kidasr.report.options import ReportOptions
from kidasr.training.own_weights import OWN_WEIGHTS
from kidasr.training.soup import soup_of
from tests.conftest import composed, job, read_json, read_jsonl
from tests.jobs.test_train import same, weights
from tests.training.test_half_precision import RUN, stopped_at

AGE = (
    *(*RUN, "adapter=age", "adapter.r=4", "adapter.dropout=0.1", "checkpoint.eval_steps=2", "report=html"),
    # The age of the oldest is unknown.
    *("data.age_buckets=[3-4,5-6,7-8,9-10,11-12]", "optim.learning_rate=0.02", "trainer.bf16=false"),
    *("data.limit_train=24", "data.limit_validation=12"),
)
ONE_STEP = ("trainer.max_steps=1", "checkpoint.eval_steps=1", "schedule.warmup_steps=0", "report=none")
SCORED = "scored with each child's own age adapter; unknown ages and ages without training data: the shared one"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("age") / "run"
    job(folder, *AGE).run()
    return folder


def groups_of(run_dir: Path, step: int) -> dict[str, torch.Tensor]:
    """The groups' own weights in a checkpoint."""
    file = run_dir / "checkpoints" / f"checkpoint-{step}" / OWN_WEIGHTS
    return {name: one for name, one in load_file(file).items() if ".by_age." in name}


def test_its_transcripts_are_those_of_the_saved_model_with_each_childs_own_adapter(
    finished: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = composed(*AGE)
    data, padding = hydra.utils.instantiate(cfg.data), hydra.utils.instantiate(cfg.padding)
    heard = {row["utterance_id"]: row["hypothesis"] for row in read_jsonl(finished / "predictions.jsonl")}
    utterances = data.load().validation
    buckets = {one.age_bucket for one in utterances}
    assert "unknown" in buckets and len(buckets) > 3
    differ = 0
    for bucket in buckets:
        dataset_of = partial(ChildSpeechDataset, [one for one in utterances if one.age_bucket == bucket], padding=padding)
        whisper = PretrainedWhisper(str(finished / "model"), "en", "transcribe").load()
        transcribe = Transcriber(whisper, 8, 1, cfg.trainer.generation_max_tokens_per_sec)
        shared = transcribe(dataset_of(whisper)).texts
        if bucket != "unknown":
            plain: Any = PeftModel.from_pretrained(whisper.model, str(group_folder(finished / "model", bucket)))
            whisper.model = plain.merge_and_unload()
        texts = transcribe(dataset_of(whisper)).texts
        assert texts == [heard[one.utterance_id] for one in utterances if one.age_bucket == bucket]
        differ += texts != shared
    assert differ > 1
    assert f"its adapters for age groups ({AGE_ADAPTERS}) are not used; this is the model for unknown ages" in caplog.text
    assert read_json(finished / "metrics.json")["scored_with"] == SCORED
    assert "Scored with each child&#39;s own age adapter" in (finished / "report.html").read_text(encoding="utf-8")


def test_a_stopped_run_ends_as_one_that_was_not(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped_at(5, monkeypatch)
    with pytest.raises(Stopped):
        job(tmp_path, *AGE).run()
    job(tmp_path, *AGE).run()
    assert same(weights(finished), weights(tmp_path)) and same(groups_of(finished, 8), groups_of(tmp_path, 8))
    assert read_json(finished / "metrics.json") == read_json(tmp_path / "metrics.json")
    adapters = sorted((finished / "model" / AGE_ADAPTERS).iterdir())
    assert [one.name for one in adapters] == ["11-12", "3-4", "5-6", "7-8", "9-10"]
    for one in adapters:
        file = f"{AGE_ADAPTERS}/{one.name}/adapter_model.safetensors"
        assert same(load_file(finished / "model" / file), load_file(tmp_path / "model" / file))


@pytest.mark.parametrize(
    "options",
    [
        ("objective=pif", "augment=specaugment", "trainer.activation_checkpointing=true"),
        ("objective=kl", "trainer.bf16=true", "trainer.generation_num_beams=2", "trainer.eval_loss=true"),
        ("freeze=encoder_all", "adapter.part=decoder", "adapter.dropout=0", "average=last"),
        ("freeze=encoder_all", "adapter.dropout=0", "padding=max_length"),
        ("augment=kids", "augment.concat.p=1", "curriculum=age"),
    ],
)
def test_it_trains_with_other_ideas(tmp_path: Path, options: tuple[str, ...]) -> None:
    job(tmp_path, *AGE, *ONE_STEP, *options).run()
    moved = {name.split(".")[1] for name, one in groups_of(tmp_path, 1).items() if ".lora_B." in name and one.any()}
    assert moved == ({"decoder"} if "freeze=encoder_all" in options else {"encoder", "decoder"})


def test_a_soup_of_such_runs_is_refused(finished: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        run_dir = tmp_path / f"run{seed}"
        shutil.copytree(finished, run_dir)
        config = read_json(run_dir / "config.json")
        (run_dir / "config.json").write_text(json.dumps({**config, "seed": seed}), encoding="utf-8")
    with pytest.raises(KidasrError, match="run1: has an adapter for each age group, which a soup can't average"):
        soup_of(str(tmp_path / "run*"), str(tmp_path / "soup"), ReportOptions(False, 0, 0))
