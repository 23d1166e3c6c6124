"""The factors of an ablation: the jobs that vary them, and what is refused."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from kidasr.cli.launch import _without_sweeps, planned_jobs
from kidasr.cli.shorthand import written_out
from kidasr.config import ConfigError
from kidasr.runs.identity import digest_of, run_name, sweep_name, words_of
from tests.conftest import ROOT, composed, run_here

CONF = ROOT / "conf"
ALL = "h1,h2,h3,h4,h5"
TWO = "factors={augment: [none, specaugment], optim.learning_rate: [1e-5, 5e-5]}"


def jobs(*arguments: str) -> list[list[str]]:
    """The overrides of each job, without those that all of them have."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        written = written_out(arguments, [CONF])
        shared = _without_sweeps(written)
        planned = planned_jobs(compose("config", shared, return_hydra_config=True), written, [CONF])
        typed = {one.partition("=")[0] for one in shared}
        return [[one for one in job if one.partition("=")[0] not in typed] for job in planned]


def hypotheses(*arguments: str) -> list[tuple[str, str]]:
    """The seed and hypotheses of each job of an ablation that varies nothing else."""
    return [(seed.removeprefix("seed="), on.removeprefix("hypotheses=").strip("[]")) for seed, on in jobs(*arguments)]


@pytest.mark.parametrize(
    ("design", "expected"),
    [
        ("one_at_a_time", {"", *ALL.split(",")}),
        ("leave_one_out", {ALL, "h2,h3,h4,h5", "h1,h3,h4,h5", "h1,h2,h4,h5", "h1,h2,h3,h5", "h1,h2,h3,h4"}),
    ],
)
def test_a_design_has_each_of_its_configurations_with_each_seed(design: str, expected: set[str]) -> None:
    found = hypotheses(f"ablation={design}", "seeds=[3,4]")
    assert sorted(found) == sorted((seed, one) for seed in "34" for one in expected)


@pytest.mark.parametrize(("design", "sizes"), [("factorial", {0, 1, 2, 3, 4, 5}), ("half_factorial", {0, 2, 4})])
def test_a_factorial_has_every_combination_and_its_half_those_of_an_even_number(design: str, sizes: set[int]) -> None:
    found = [one.split(",") if one else [] for _, one in hypotheses(f"ablation={design}")]
    expected = [[name for bit, name in enumerate(ALL.split(",")) if number >> bit & 1] for number in range(32)]
    assert sorted(found) == sorted(one for one in expected if len(one) in sizes)


def test_a_design_is_of_the_hypotheses_that_are_named() -> None:
    assert [one for _, one in hypotheses("ablation=factorial", "hypotheses=[h4,h1]")] == ["", "h4", "h1", "h4,h1"]
    assert [one for _, one in hypotheses("ablation=leave_one_out", "hypotheses=h1,h4", "seeds=2")] == ["h1,h4", "h4", "h1"]
    assert hypotheses("ablation=one_at_a_time", "hypotheses=[h1]", "augment=specaugment"), "what is not ablated is shared"
    assert len(jobs("ablation=screening")) == 12


def test_factors_alone_are_all_that_varies_and_each_is_typed_in_every_job() -> None:
    assert jobs("ablation=factorial", TWO) == [
        ["seed=1", "hypotheses=[]", "augment=none", "optim.learning_rate=1e-05"],
        ["seed=1", "hypotheses=[]", "augment=specaugment", "optim.learning_rate=1e-05"],
        ["seed=1", "hypotheses=[]", "augment=none", "optim.learning_rate=5e-05"],
        ["seed=1", "hypotheses=[]", "augment=specaugment", "optim.learning_rate=5e-05"],
    ]


def test_hypotheses_and_factors_are_varied_together() -> None:
    found = jobs("ablation=leave_one_out", "hypotheses=[h1,h5]", TWO, "seeds=1,2")
    assert found[:5] == [
        ["seed=1", "hypotheses=[h1,h5]", "augment=specaugment", "optim.learning_rate=5e-05"],
        ["seed=1", "hypotheses=[h5]", "augment=specaugment", "optim.learning_rate=5e-05"],
        ["seed=1", "hypotheses=[h1]", "augment=specaugment", "optim.learning_rate=5e-05"],
        ["seed=1", "hypotheses=[h1,h5]", "augment=none", "optim.learning_rate=5e-05"],
        ["seed=1", "hypotheses=[h1,h5]", "augment=specaugment", "optim.learning_rate=1e-05"],
    ]
    assert [["seed=2", *job[1:]] for job in found[:5]] == found[5:], "the seed changes last"
    mixed = "hypotheses=[h1,h2,h3]"
    assert [len(jobs(f"ablation={design}", mixed, TWO)) for design in ("half_factorial", "screening")] == [16, 12]


def test_one_at_a_time_takes_any_number_of_levels_of_any_kind() -> None:
    levels = (
        "factors={augment: [none, specaugment, [specaugment]], data.train: [a b, 'x,y', '1'], freeze: [none, encoder_all]}"
    )
    typed = [job[2:] for job in jobs("ablation=one_at_a_time", levels)]
    assert typed[0] == ["augment=none", "data.train=a b", "freeze=none"]
    assert [sum(one != off for one, off in zip(job, typed[0], strict=True)) for job in typed] == [0, 1, 1, 1, 1, 1]
    assert [job[0] for job in typed[1:3]] == ["augment=specaugment", "augment=[specaugment]"]
    assert [job[1] for job in typed[3:5]] == ["data.train='x,y'", "data.train='1'"]


def test_options_swept_beside_an_ablation_multiply_it_and_its_keys_can_be_typed_short() -> None:
    masks = "factors={augment.freq_mask_param: [20, 27]}"
    found = jobs(
        "ablation=one_at_a_time",
        masks,
        "augment=specaugment",
        "optim.learning_rate=1e-5,5e-5",
        "--multirun"[:0] or "seeds=1",
    )
    key = "augment.specaugment.freq_mask_param"
    assert found == [
        ["seed=1", "hypotheses=[]", f"{key}={width}", f"optim.learning_rate={rate}"]
        for width in (20, 27)
        for rate in ("1e-05", "5e-05")
    ]


def test_factors_alone_may_vary_any_recipe() -> None:
    assert len(jobs("ablation=one_at_a_time", TWO, "experiment=h5")) == 3


def test_hypotheses_are_switched_on_together_over_the_baseline() -> None:
    both = composed("experiment=baseline", "hypotheses=[h2,h4]")
    assert (both.schedule.lr_scheduler_type, both.early_stopping.patience, both.augment.specaugment.freq_mask_param) == (
        "cosine",
        5,
        27,
    )
    assert (both.checkpoint.save_total_limit, both.freeze.freeze_encoder_steps, "order" in both.curriculum) == (3, 0, False)


def test_every_run_records_its_factors_and_the_configuration_to_compare_with() -> None:
    cfg = composed("ablation=leave_one_out", "hypotheses=[h1]", TWO)
    assert cfg.factors == {"augment": ["none", "specaugment"], "optim.learning_rate": [1e-5, 5e-5]}
    assert (cfg.ablated, cfg.baseline) == (["h1"], ["h1", "augment", "optim.learning_rate"])
    assert composed("ablation=leave_one_out").factors is None
    assert composed("ablation=leave_one_out").baseline == ALL.split(",")
    assert composed("ablation=factorial", TWO).ablated == [], "factors alone"


def test_runs_and_sweeps_of_hypotheses_have_the_names_of_the_single_runs() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):

        def name(*overrides: str) -> str:
            return run_name(
                compose("config", list(overrides), return_hydra_config=True), compose("config", [], return_hydra_config=True)
            )

        ablation = ("ablation=one_at_a_time", "seeds=[1,2]")
        of_h4 = name("seed=2", "hypotheses=[h4]", *ablation)
        assert words_of(of_h4) == "ablation=one_at_a_time+h4+seed=2"
        assert words_of(name("seed=1", "hypotheses=[]", *ablation)) == "ablation=one_at_a_time"
        assert digest_of(of_h4) == digest_of(name("experiment=h4", "seed=2"))
        typed = ("seed=1", "hypotheses=[]", "augment=specaugment", "optim.learning_rate=5e-05", "ablation=factorial", TWO)
        assert words_of(name(*typed)) == "ablation=factorial+augment=specaugment+optim.learning_rate=5e-05"
        assert digest_of(name(*typed)) == digest_of(name("experiment=h4", "optim.learning_rate=5e-5"))


def test_other_factors_are_another_sweep() -> None:
    ignored = composed().identity.ignored_keys

    def name(*overrides: str) -> str:
        return sweep_name(written_out(overrides, [CONF]), ignored)

    assert name("ablation=one_at_a_time", "seeds=1,2") == "ablation=one_at_a_time-e1fcc0ba"
    assert name("ablation=one_at_a_time", "hypotheses=[h1]", "seeds=1") == "ablation=one_at_a_time-e1fcc0ba"
    named = name("ablation=factorial", TWO, "seeds=1,2")
    assert words_of(named) == "ablation=factorial+factors=augment-optim.learning_rate"
    assert named == name("ablation=factorial", TWO.replace("1e-5", "0.00001").replace(", ", ","))
    assert named != name("ablation=factorial", TWO.replace("1e-5", "2e-5"))
    assert named != name("ablation=factorial", TWO, "hypotheses=[h1]")
    assert name("ablation=screening") != name("ablation=screening", f"hypotheses=[{ALL}]")


def test_a_run_in_several_processes_keeps_its_hypotheses() -> None:
    run = ("seed=1", "hypotheses=[h4]", "ablation=one_at_a_time", "hydra.mode=RUN")
    assert written_out(run, [CONF]) == list(run)


@pytest.mark.parametrize("said", ["seed=1", "experiment=all", "augment=specaugment"])
def test_what_the_design_varies_can_not_be_said_beside_it(said: str) -> None:
    with pytest.raises(ConfigError, match="ablation=one_at_a_time sets that; expected: seeds=1,2 and"):
        jobs("ablation=one_at_a_time", said)


def test_hypotheses_that_override_the_same_group_can_only_be_tried_one_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "hypotheses").mkdir()
    text = "# @package _global_\ndefaults:\n  - override /schedule: linear\n"
    (tmp_path / "hypotheses" / "constant.yaml").write_text(text, encoding="utf-8")
    search = f"hydra.searchpath=[file://{tmp_path}]"
    with initialize_config_dir(str(CONF), version_base="1.3"):

        def number(design: str) -> int:
            typed = [f"ablation={design}", "ablated=[constant,h2]", search]
            shared = compose("config", typed, return_hydra_config=True)
            return len(list(planned_jobs(shared, typed, [CONF, tmp_path])))

        assert number("one_at_a_time") == 3
        with pytest.raises(
            ConfigError, match=r"ablated=\[constant,h2\]: constant and h2 both override schedule; expected: one"
        ):
            number("factorial")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--multirun", "ablation=factorial,leave_one_out"],
            "each ablation is a multirun of its own; expected: one of them",
        ),
        (["ablation=factorial", f"{TWO},{{}}"], "each ablation is a multirun of its own; expected: one of them"),
        (["ablation=one_at_a_time", "seeds=1,x"], "error: seeds.1=x: should be a valid integer"),
        (["ablation=one_at_a_time", "seeds=[]"], "error: seeds=[]: should be a list; expected: seeds=1,2"),
        (["hypotheses=[h1,h6]"], "error: hypotheses=[h6]: no such choice; expected: adult_to_child, codec, concat"),
        (
            ["ablation=factorial", "hypotheses=[h1,h6]"],
            "error: hypotheses=[h6]: no such choice; expected: adult_to_child, codec, concat",
        ),
        (["ablation=factorial", "hypotheses=[h1,h1]"], "error: ablated=['h1', 'h1']: a hypothesis is listed twice"),
        (
            ["ablation=factorial", TWO, "hydra/sweeper=basic"],
            "error: hydra/sweeper=basic: an ablation has a sweeper of its own",
        ),
        (
            ["--multirun", "hydra/sweeper=ablation"],
            "error: hydra/sweeper=ablation: an ablation chooses it; expected: ablation=",
        ),
        (
            ["ablation=factorial", "factors={freeze: [none, encoder_all], freeze.freeze_encoder_steps: [0, 9]}"],
            "error: freeze=encoder_all: the same run as freeze=none; expected: factors that change the result, whatever the",
        ),
        (
            ["ablation=one_at_a_time", "freeze.freeze_encoder_steps=0"],
            "error: hypotheses=[h3]: the same run as hypotheses=[]; expected: factors that change the result, whatever the",
        ),
    ],
)
def test_a_mistake_is_one_line_before_the_first_run(
    arguments: list[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_here(monkeypatch, *arguments, f"hydra.sweep.dir={tmp_path}", f"hydra.run.dir={tmp_path}") == 2
    assert not list(tmp_path.iterdir())
    complained = capfd.readouterr().err
    assert line in complained and len(complained.splitlines()) == 1
