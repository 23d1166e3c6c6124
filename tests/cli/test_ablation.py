"""An ablation design is a multirun: its runs, and the overrides that it refuses."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from kidasr.cli.launch import planned_jobs
from kidasr.cli.shorthand import written_out
from kidasr.config import ConfigError
from tests.conftest import ROOT, composed, run_here


def jobs(*overrides: str) -> list[tuple[str, str]]:
    """The seed and hypotheses of each run."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        written = written_out(overrides, [ROOT / "conf"])
        shared = compose("config", written, return_hydra_config=True)
        planned = [dict(one.split("=", 1) for one in job) for job in planned_jobs(shared, written, [ROOT / "conf"])]
    return [(job["seed"], job["hypotheses"].strip("[]")) for job in planned]


ALL = "h1,h2,h3,h4,h5"


@pytest.mark.parametrize(
    ("design", "expected"),
    [
        ("one_at_a_time", {"", *ALL.split(",")}),
        ("leave_one_out", {ALL, "h2,h3,h4,h5", "h1,h3,h4,h5", "h1,h2,h4,h5", "h1,h2,h3,h5", "h1,h2,h3,h4"}),
    ],
)
def test_a_design_has_each_of_its_configurations_with_each_seed(design: str, expected: set[str]) -> None:
    found = jobs(f"ablation={design}", "seeds=[3,4]")
    assert sorted(found) == sorted((seed, one) for seed in "34" for one in expected)


@pytest.mark.parametrize(("design", "sizes"), [("factorial", {0, 1, 2, 3, 4, 5}), ("half_factorial", {0, 2, 4})])
def test_a_factorial_has_every_combination_and_its_half_those_of_an_even_number(design: str, sizes: set[int]) -> None:
    found = [one.split(",") if one else [] for _, one in jobs(f"ablation={design}")]
    expected = [[name for bit, name in enumerate(ALL.split(",")) if number >> bit & 1] for number in range(32)]
    assert sorted(found) == sorted(one for one in expected if len(one) in sizes)


def test_a_design_is_of_the_hypotheses_that_are_named() -> None:
    assert [one for _, one in jobs("ablation=factorial", "hypotheses=[h4,h1]")] == ["", "h4", "h1", "h4,h1"]
    assert [one for _, one in jobs("ablation=leave_one_out", "hypotheses=h1,h4", "seeds=2")] == ["h1,h4", "h4", "h1"]
    assert jobs("ablation=one_at_a_time", "hypotheses=[h1]", "augment=specaugment"), "what is not ablated is shared"


def test_hypotheses_are_switched_on_together_over_the_baseline() -> None:
    both = composed("experiment=baseline", "hypotheses=[h2,h4]")
    assert (both.schedule.lr_scheduler_type, both.early_stopping.patience, both.augment.specaugment.freq_mask_param) == (
        "cosine",
        5,
        27,
    )
    assert (both.checkpoint.save_total_limit, both.freeze.freeze_encoder_steps, "order" in both.curriculum) == (3, 0, False)


@pytest.mark.parametrize("said", ["seed=1", "experiment=all", "augment=specaugment"])
def test_what_the_design_varies_can_not_be_said_beside_it(said: str) -> None:
    with pytest.raises(ConfigError, match="ablation=one_at_a_time sets that; expected: seeds=1,2 and"):
        jobs("ablation=one_at_a_time", said)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--multirun", "ablation=factorial,leave_one_out"],
            "each ablation is a multirun of its own; expected: one of them",
        ),
        (["ablation=one_at_a_time", "seeds=1,x"], "error: seeds.1=x: should be a valid integer"),
        (["hypotheses=[h1,h6]"], "error: hypotheses=[h6]: no such choice; expected: h1, h2, h3, h4, h5"),
        (
            ["ablation=factorial", "hypotheses=[h1,h6]"],
            "error: hypotheses=[h6]: no such choice; expected: h1, h2, h3, h4, h5",
        ),
        (["ablation=factorial", "hypotheses=[h1,h1]"], "error: ablated=['h1', 'h1']: a hypothesis is listed twice"),
    ],
)
def test_a_mistake_is_one_line_before_the_first_run(
    arguments: list[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_here(monkeypatch, *arguments, f"hydra.sweep.dir={tmp_path}", f"hydra.run.dir={tmp_path}") == 2
    assert not list(tmp_path.iterdir())
    complained = capfd.readouterr().err
    assert line in complained and len(complained.splitlines()) == 1
