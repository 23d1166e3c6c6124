"""Any config, composed or from the command line, passes the checks or is refused with plain messages, never a traceback."""

import contextlib
import io
import os
import sys
from typing import Any
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from kidasr.cli import launch
from kidasr.config import ConfigError, check_config
from tests.config.test_compose import CHOICES, values
from tests.conftest import ROOT, composed

pytestmark = pytest.mark.any_input

KEYS = sorted(values())
HYDRA_KEYS = [
    "hydra.run.dir",
    "hydra.sweep.dir",
    "hydra.job.env_set",
    "hydra.verbose",
    "hydra/launcher",
    "hydra.sweeper.params",
]
GROUPS = sorted({choice.partition("=")[0] for choice in CHOICES})

# Not subnormal: training sets this process to flush them to zero.
numbers = st.integers(-3, 3) | st.integers() | st.floats(allow_subnormal=False)
words = st.sampled_from(
    ["", "null", "true", "none", "???", "${seed}", "${nowhere}", "${data.train}", "${oc.env:NOT_THERE}", "a b"]
)
leaves = st.none() | st.booleans() | numbers | words | st.text(max_size=6)
likely = leaves | st.lists(leaves, max_size=2) | st.dictionaries(st.text(max_size=3), leaves, max_size=2)


def assert_lines(told: str) -> None:
    assert told and all(line.strip() for line in told.splitlines())
    assert "Traceback" not in told


@given(changes=st.dictionaries(st.sampled_from([*KEYS, *GROUPS]), likely, min_size=1, max_size=3))
@example({"step_scale": None})
@example({"data.age_buckets": ["13+", "13+"]})
@example({"trainer.max_steps": 10**30})
@example({"data": None})
def test_any_values_of_the_known_keys_pass_the_checks_or_are_refused(changes: dict[str, Any]) -> None:
    cfg = composed()
    OmegaConf.set_struct(cfg, False)
    for key, value in changes.items():
        with contextlib.suppress(Exception):  # the key's group was replaced by another value
            OmegaConf.update(cfg, key, value, merge=False)
    try:
        check_config(cfg)
    except ConfigError as error:
        assert_lines(str(error))


keys = st.sampled_from([*KEYS, *GROUPS, "experiment", *HYDRA_KEYS, "nonsense"]) | st.text(max_size=5)
raw_values = st.sampled_from(
    ["", "0", "-1", "1e999", "x", "[a", "{a:1}", "'", "a,b", "glob(*)", "range(1,3)", "choice(1)", "${x}"]
)
overrides = st.builds(
    lambda sign, key, equals, value: sign + key + equals + value,
    st.sampled_from(["", "", "+", "~", "++"]),
    keys,
    st.sampled_from(["=", "=", ""]),
    raw_values | st.text(max_size=5),
)


@given(arguments=st.lists(overrides, min_size=1, max_size=2), multirun=st.booleans())
@example(["~step_scale"], False)
@example(["~data"], False)
@example(["job=null"], False)
@example(["+="], False)
@example(["job=compare"], False)
@example(["hydra.run.dir=\0"], False)
def test_any_command_line_starts_the_job_or_is_refused_with_exit_code_2(arguments: list[str], multirun: bool) -> None:
    started: list[bool] = []
    said, complained = io.StringIO(), io.StringIO()
    command = ["run.py", *(["--multirun"] if multirun else []), *(one for one in arguments if not one.startswith("-"))]
    with (
        mock.patch.object(sys, "argv", command),
        mock.patch.dict(os.environ),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(complained),
    ):
        os.environ.pop("HYDRA_FULL_ERROR", None)
        try:
            launch(lambda: started.append(True), ROOT / "conf")
        except SystemExit as end:
            assert end.code == 2 and not started
            assert_lines(complained.getvalue())
            assert all(line.startswith("error: ") for line in complained.getvalue().splitlines())
        else:
            assert started
