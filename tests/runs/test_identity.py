"""A run's name depends on its config, not on how the command is typed."""

from pathlib import Path

from hydra import compose, initialize_config_dir

from kidasr.cli.shorthand import written_out
from kidasr.runs import identity
from kidasr.runs.identity import configuration, digest_of, ignored_keys, is_same_experiment, resolved, run_name, words_of
from kidasr.runs.sweeps import PlannedRun, add_runs, name_run, read_sweep
from tests.conftest import ROOT, composed, run_py


def name(*overrides: str, sweep: Path | None = None) -> str:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        written = written_out(overrides, [ROOT / "conf"])
        cfg, base = (compose("config", list(typed), return_hydra_config=True) for typed in (written, ()))
        return name_run(sweep, cfg, base, 3) if sweep else run_name(cfg, base)


def sweep_name(typed: list[str]) -> str:
    return identity.sweep_name(typed, ignored_keys(resolved(composed())))


def test_a_name_is_of_what_differs_from_the_default_config() -> None:
    assert words_of(name()) == words_of(name("augment=none", "seed=1", "logger=wandb", "trainer.num_threads=2")) == "default"
    assert words_of(name("optim.learning_rate=1e-4", "seed=2", "augment=specaugment")) == (
        "augment=specaugment+seed=2+optim.learning_rate=1e-4"
    )
    assert words_of(name("data.train=/some/folder with spaces/train.jsonl")) == "data.train=train.jsonl"


def test_one_experiment_has_one_checksum_and_another_has_another() -> None:
    same = [
        ("augment=specaugment", "optim.learning_rate=5e-5"),
        ("optim.learning_rate=0.00005", "augment=specaugment", "curriculum=none"),
        ("augment=specaugment", "augment.freq_mask_param=27", "optim.learning_rate=5.0e-5", "report=none"),
        ("augment=specaugment", "optim.learning_rate=5e-5", "trainer.num_processes=4", "logger=tensorboard"),
    ]
    assert len({digest_of(name(*typed)) for typed in same}) == 1
    assert digest_of(name("hypotheses=[h4]")) == digest_of(name("augment=specaugment"))
    others = [(), ("seed=2",), ("augment=specaugment",), ("hypotheses=[h4,h5]",), ("data.split_seed=2",)]
    others += [("job=compare", "runs=[a,b]")]
    assert len({digest_of(name(*typed)) for typed in [*others, same[0]]}) == len(others) + 1


def test_the_keys_that_do_not_change_a_result_are_listed_in_the_config_where_a_user_extends_them() -> None:
    run = resolved(composed())
    listed = run["identity"]["ignored_keys"]
    assert {"logger", "trainer.num_threads"} < set(listed) and "- trainer.num_threads\n" in run_py("--cfg", "job").stdout
    compiled = resolved(composed("trainer.torch_compile=true"))
    assert not is_same_experiment(run, compiled)
    extended = f"identity.ignored_keys=[{','.join(listed)},trainer.torch_compile]"
    assert is_same_experiment(run, resolved(composed("trainer.torch_compile=true", extended))), "by the list of now"
    assert digest_of(name("trainer.torch_compile=true", extended)) == digest_of(name())


def test_a_key_that_was_added_later_makes_no_difference_at_its_neutral_value() -> None:
    before = resolved(composed())
    del before["optim"]["layer_decay"], before["average"]
    for name in ("temperatures", "compression_ratio_threshold", "logprob_threshold", "no_speech_threshold"):
        del before["trainer"][f"generation_{name}"]
    assert is_same_experiment(before, resolved(composed())) and configuration(before) == configuration(resolved(composed()))
    fallback = "trainer.generation_temperatures=[0.0,0.4]"
    for later in ("optim.layer_decay=0.9", "average=last", "average.pretrained=0.3", fallback):
        assert not is_same_experiment(before, resolved(composed(later)))


def test_runs_of_one_configuration_differ_in_their_seed_and_runs_of_another_job_are_none_of_it() -> None:
    run, repeated = resolved(composed()), resolved(composed("seed=2", "trainer.num_threads=8", "logger=tensorboard"))
    assert configuration(run) == configuration(repeated) and not is_same_experiment(run, repeated)
    assert configuration(run) != configuration(resolved(composed("optim.learning_rate=1e-4")))
    assert not is_same_experiment(run, resolved(composed("job=compare", "runs=[a,b]")))


def test_a_run_typed_in_other_words_is_found(tmp_path: Path) -> None:
    (tmp_path / name("augment=specaugment", "seed=2")).mkdir()
    typed = ("seed=2", "augment=specaugment", "augment.freq_mask_param=27")
    assert name(*typed, sweep=tmp_path) == name("augment=specaugment", "seed=2")


def test_a_user_may_name_the_runs(tmp_path: Path) -> None:
    assert name("augment=specaugment", "hydra.sweep.subdir='mine ${hydra:job.num}'", sweep=tmp_path) == "mine 3"


def test_a_sweep_with_more_seeds_or_values_or_on_a_cluster_is_the_same_sweep_and_remembers_its_runs(tmp_path: Path) -> None:
    swept = "augment=none,specaugment"
    assert (
        sweep_name([swept]) == sweep_name(["seed=1,2", swept]) == sweep_name([swept, "logger=wandb", "hydra/launcher=slurm"])
    )
    masks = "augment.freq_mask_param=27,40"
    assert sweep_name([swept, masks]) == sweep_name(["augment.freq_mask_param=40,27,50", "augment=specaugment,none"])
    search = [swept, "hydra/sweeper=optuna"]
    others = [[swept], ["augment=specaugment"], [swept, masks], search, [*search, "seed=2"], ["augment=none", masks]]
    assert len({sweep_name(typed) for typed in others}) == len(others)
    assert words_of(sweep_name([swept, masks, "schedule=cosine"])) == "augment+schedule=cosine+augment.freq_mask_param"
    one, two, three = (PlannedRun(f"seed={seed}-0a1b2c3d", (f"seed={seed}",)) for seed in (1, 2, 3))
    add_runs(tmp_path, [one, two])
    add_runs(tmp_path, [three, one])
    assert read_sweep(tmp_path) == [one, two, three]
