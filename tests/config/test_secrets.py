"""Secrets in the environment never end up in the files of a run."""

import logging
from pathlib import Path

import pytest

from kidasr.config.secrets import Formatter, secrets
from tests.conftest import run_here

SECRETS = {
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "HF_TOKEN": "hf_notarealtoken1234",
    "AWS_SECRET_ACCESS_KEY": "a/b+cNotARealSecret==",
    "PGPASSWORD": "correct horse battery",
    "HTTPS_PROXY": "http://me:notarealpassword@localhost:9",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_MODE", "offline")


def test_secrets_are_known_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "TOKENIZERS_PARALLELISM": "not a secret",
        "XDG_KEYBOARD": "not a secret",
        "SHORT_TOKEN": "1",
        "GOOGLE_APPLICATION_CREDENTIALS": __file__,
        "HOME": "/home/of/somebody",
    }.items():
        monkeypatch.setenv(name, value)
    assert {name: value for name, value in secrets().items() if name in SECRETS} == SECRETS
    assert not {"TOKENIZERS_PARALLELISM", "XDG_KEYBOARD", "SHORT_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS", "HOME"} & set(
        secrets()
    )


@pytest.mark.parametrize("logger", ["wandb", "tensorboard"])
def test_a_run_writes_no_secret_anywhere(
    tmp_path: Path, logger: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_here(monkeypatch, "debug=smoke", f"logger={logger}", f"hydra.run.dir={tmp_path}") == 0
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"config.json", "environment.json", "run.log", "metrics.json", "overrides.yaml"} <= {path.name for path in files}
    assert len([path for path in files if logger in str(path)]) >= 1
    content = b"\n".join(path.read_bytes() for path in files) + "".join(capfd.readouterr()).encode()
    assert len(content) > 1e6
    assert [name for name, value in SECRETS.items() if value.encode() in content] == []


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "model.name_or_path=x/hf_notarealtoken1234",
            "model.name_or_path: contains the value of the environment variable HF_TOKEN",
        ),
        (
            "model.name_or_path=${oc.env:HF_TOKEN}",
            "model.name_or_path: contains the value of the environment variable HF_TOKEN",
        ),
        (
            "data.age_buckets=[${oc.env:PGPASSWORD}]",
            "data.age_buckets.0: contains the value of the environment variable PGPASSW",
        ),
        ("hydra.run.dir=out/hf_notarealtoken1234", "hydra.run.dir: contains the value of the environment variable HF_TOKEN"),
        ("+hf_notarealtoken1234=1", "+<HF_TOKEN>: contains the value of the environment variable HF_TOKEN"),
        ("hydra.job.env_set={A: 1, MY_TOKEN: x}", "hydra.job.env_set: Hydra would write it to the run folder; expected"),
        ("+hydra.job.env_set.MY_TOKEN=x", "+hydra.job.env_set.MY_TOKEN: Hydra would write it to the run folder; expected"),
    ],
)
def test_a_secret_in_the_config_is_refused_and_not_repeated(
    override: str, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_here(monkeypatch, override) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {line}") and told.count("\n") == 1
    assert not any(value in told for value in SECRETS.values())
    assert not list(tmp_path.iterdir())


def test_a_secret_in_a_message_or_a_traceback_is_hidden_in_the_log() -> None:
    try:
        raise OSError(f"401 for {SECRETS['HF_TOKEN']}")
    except OSError as error:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "asked %s", (SECRETS["HTTPS_PROXY"],), (OSError, error, None))
    told = Formatter("%(message)s").format(record)
    assert told == "asked <HTTPS_PROXY>\nOSError: 401 for <HF_TOKEN>"
