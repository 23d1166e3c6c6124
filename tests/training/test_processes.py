"""Several processes, started by torchrun as a user would, with gloo on a CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import MICRO, ROOT, read_json, read_jsonl
from tests.training.test_train import ALL_ON, job, weights

#: Plain gradient descent, which shows the size of every gradient.
COMMON = (
    "trainer.max_steps=6",
    "data.on_bad_audio=skip",
    "data.limit_validation=10",
    "checkpoint.eval_steps=3",
    "schedule.warmup_steps=0",
    "optim.optim=sgd",
    "optim.learning_rate=0.05",
    "optim.weight_decay=0",
    "optim.max_grad_norm=0",
    "padding=longest",
)


@pytest.mark.parametrize("hypotheses", [(), ALL_ON], ids=["off", "all on"])
def test_two_processes_train_as_one_with_batches_as_large(tmp_path: Path, hypotheses: tuple[str, ...]) -> None:
    corpus = MICRO.parent / "corpus"
    rows = read_jsonl(corpus / "train.jsonl")[::15]
    rows = [{**row, "audio_path": str(corpus / row["audio_path"])} for row in rows]
    rows[7]["audio_path"] = "gone.wav"  # each process looks at some of them, and both leave out the same
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    options = [*hypotheses, *COMMON, f"data.train={tmp_path / 't.jsonl'}"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    batch = ["trainer.per_device_train_batch_size=2", f"hydra.run.dir={tmp_path / 'two'}"]
    command = [*torchrun, str(ROOT / "run.py"), *options, *batch]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert done.returncode == 0, done.stderr
    job(tmp_path / "one", *options, "trainer.per_device_train_batch_size=4").run()
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)
    assert read_json(tmp_path / "one" / "metrics.json") == read_json(tmp_path / "two" / "metrics.json")
    assert read_json(tmp_path / "two" / "metrics.json")["skipped_audio"] == {"train": 1, "validation": 0}
    assert done.stdout.count("run: 6 optimizer steps") + done.stderr.count("run: 6 optimizer steps") == 1, (
        "one process talks"
    )
