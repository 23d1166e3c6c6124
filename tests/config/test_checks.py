"""A mistake is one line with the key, the value and what is expected. What is valid but probably unintended is a warning."""

import logging
from collections.abc import Iterable
from pathlib import Path

import pytest

from kidasr.config.checks import ConfigError, check_config
from kidasr.training.run_length import run_length_contradictions, run_length_warnings
from tests.conftest import composed, run_here, run_py

MISTAKES = {
    # unknown groups, choices and keys
    "augmnt=none": "augmnt: no such key; did you mean augment?",
    "augment=specaug": "augment=specaug: no such choice; expected: adult_to_child, codec, concat",
    "experiment=h9": "experiment=h9: no such choice; expected: all, baseline, cmu_kids_whisper_small, h1",
    "hypotheses=[h1,h1]": "hypotheses=[h1,h1]: h1 and h1 both override checkpoint; expected: one of them",
    "job=compare augment=none": "augment: not a group of job=compare; expected: one listed by python run.py job=compare --help",
    "job=prepare": "corpus: which one?; expected: corpus=NAME corpus.root=DIR",
    "job=prepare corpus=myst": "corpus.root is missing; expected: corpus.root=...",
    "job=prepare corpus=kaldi corpus.root=DIR ages=[9,3]": "ages=[9, 3]: the first is older than the last; expected: e.g. ages=[0,15]",
    "job=prepare corpus=kaldi corpus.root=DIR filters.reference_wer_over=0.5": "filters.reference_predictions is missing; expected: both keys",
    "--config-dir=/nowhere": "--config-dir=/nowhere: no such folder",
    "augment.freq_mask_parm=3": "augment.freq_mask_parm: no such key; did you mean augment.freq_mask_param?",
    "+data.foo=1": "data.foo: no such key; expected in data: train, validation",
    "+foo=1": "foo: no such key; expected in the config: job, resume",
    "~augment": "augment is missing",
    "augment=[none": "augment=[none: not in the form group=choice or key=value",
    "run": "run: not in the form group=choice or key=value",
    "data.train=~/t.jsonl": "data.train=~/t.jsonl: not in the form group=choice or key=value; expected: quotes, 'data.train=\"~/",
    # types
    "augment=specaugment augment.freq_mask_param=many": "augment.specaugment.freq_mask_param=many: should be a valid integer",
    "augment.freq_mask_param=3": "augment.specaugment.freq_mask_param: no such key with this choice of augment; expected: augment=",
    "augment=specaugment augment.freq_mask_param=1.5": "augment.specaugment.freq_mask_param=1.5: should be a valid integer",
    "schedule.warmup_steps=null": "schedule.warmup_steps=null: should be a valid integer",
    "data.train=[a,b]": "data.train=['a', 'b']: should be a valid string",
    "trainer.bf16=1": "trainer.bf16=1: should be a valid boolean",
    "experiment=[h2,h4]": "experiment=[h2,h4]: each preset is a complete recipe; expected: one of them",
    "experiment=null": "experiment=null: ",
    "logger.name=x": "logger.name: no such key with this choice of logger",
    "step_scale=x": "step_scale=x: should be a number greater than 0",
    "optim.learning_rate=inf": "optim.learning_rate=inf: should be a finite number",
    "hydra.run.dir=/dev/null/x": "hydra.run.dir=/dev/null/x: /dev/null is not a folder; expected: a new or existing folder",
    "--multirun hydra.sweep.dir=/dev/null seed=1,2": "hydra.sweep.dir=/dev/null: /dev/null is not a folder",
    "logger=wandb logger.max_predictions=few": "logger.max_predictions=few: should be a valid integer",
    "logger=wandb logger.projct=x": "logger.projct: no such key; did you mean logger.project?; expected in logger: project",
    # ranges
    "augment=specaugment augment.freq_mask_param=-1": "augment.specaugment.freq_mask_param=-1: should be greater than or equal to 0",
    "augment=specaugment augment.max_time_mask_fraction=2": "augment.specaugment.max_time_mask_fraction=2: should be less than or equal to 1",
    "freeze.freeze_encoder_steps=-2": "freeze.freeze_encoder_steps=-2: should be greater than or equal to -1",
    "trainer.num_train_epochs=0": "trainer.num_train_epochs=0: should be greater than 0",
    "trainer.generation_max_length=4": "trainer.generation_max_length=4: should be greater than or equal to 5",
    "data.validation_fraction=1": "data.validation_fraction=1: should be less than 1",
    "checkpoint=legacy checkpoint.eval_steps=0": "checkpoint.eval_steps=0: should be greater than 0",
    "optim.layer_decay=0": "optim.layer_decay=0: should be greater than 0",
    "adapter=lora adapter.r=0": "adapter.r=0: should be greater than 0",
    "adapter=lora adapter.targets=[]": "adapter.targets=[]: List should have at least 1 item",
    "adapter=lora adapter.part=middle": "adapter.part=middle: should be 'encoder', 'decoder' or 'both'",
    "adapter=lora adapter.rank=8": "adapter.rank: no such key; expected in adapter: r, alpha",
    "adapter=age adapter.group_r=0": "adapter.group_r=0: should be greater than 0",
    "adapter=age trainer.torch_compile=true": "trainer.torch_compile=true: not with adapter=age; expected: false, or adapter=lora",
    "adapter=age average.pretrained=0.3": "average.pretrained=0.3: not with an adapter; expected: adapter=none, or 0",
    "freeze=decoder_all freeze.freeze_encoder_steps=3": "freeze.freeze_encoder_steps: no such key; did you mean freeze.freeze_decoder_steps?",
    "seed=-1": "seed=-1: should be greater than or equal to 0",
    "optim.optim=adam": "optim.optim=adam: should be 'adamw_torch'",
    "schedule.lr_scheduler_type=cos": "schedule.lr_scheduler_type=cos: should be 'linear', 'cosine'",
    "data.age_buckets=[5-6,3-4]": "data.age_buckets: '3-4' does not come after the bucket before it",
    "data.age_buckets=[young]": "data.age_buckets: 'young' is no bucket; expected: like '5-6' or '13+'",
    "data.age_order=[K,K]": "data.age_order: 'K' is there twice; expected: each label once",
    "data.age_order=[K] data.age_years={K:5.5}": "data.age_order: not with data.age_years; expected: labels in order, or labels with",
    "data.age_years={K:500}": "data.age_years.K=500: should be less than or equal to 120",
    "data.age_unit=weeks": "data.age_unit=weeks: should be 'years' or 'months'",
    "data.speakers=none": "data.speakers=none: should be 'known' or 'unknown'",
    "data.clean=mark": "data.clean=mark: no such convention; expected: none, markup, chat, myst, cmu_kids, cslu_kids, ldc, fillers, or a YAML",
    "data.clean=[none,chat]": "data.clean=[none,chat]: none stands alone; expected: none, or the others",
    "data.clean=fillers model.language=de": "data.clean=fillers: these are rules for the language 'en', and the model writes 'de'; expected",
    "resume=sometimes": "resume=sometimes: should be 'auto', 'latest' or 'never'",
    # combinations
    "overwrite=true": "overwrite=true: deletes a run only with resume=never; expected: resume=never as well",
    "--multirun seed=1,2 resume=latest": "resume=latest: only for a single run; expected with --multirun: hydra.sweep.dir=...",
    "checkpoint.save_steps=30": "checkpoint.save_steps=30: should be a multiple of checkpoint.eval_steps=25",
    "trainer.max_steps=10": "schedule.warmup_steps=25: longer than the run; expected: at most its 10 steps",
    "trainer.max_steps=0": "trainer.max_steps=0: should be 1 or more, or -1",
    "trainer.bf16=true trainer.fp16=true": "trainer.fp16=true: can't be combined with trainer.bf16=true",
    "trainer.fp16=true": "trainer.fp16=true: not on a CPU; expected: trainer.bf16=true, or trainer=gpu trainer.bf16=false",
    "early_stopping=patience_5 trainer.max_steps=10 schedule.warmup_steps=1": (
        "early_stopping.patience=5: the run's 10 steps end before the first evaluation; expected: checkpoint.eval_steps"
    ),
    "objective=pif": "objective: pif compares augmented views of an utterance; expected: an augmentation, augment=specaugment",
    "objective=pif augment=specaugment freeze=encoder_all": "freeze.freeze_encoder_steps=-1: objective=pif changes the encoder; exp",
    "objective=l2_sp adapter._target_=kidasr.training.objective.Adapter": "objective: l2_sp needs pretrained values of the weights",
    "objective=kl objective.until=0": "objective.until=0: should be greater than 0",
    "curriculum=age_staged padding=longest trainer.max_batch_sec=9": "trainer.max_batch_sec=9: with this curriculum, which repeats",
    "curriculum=duration padding=longest trainer.max_batch_sec=9": "curriculum.epochs=1: with trainer.max_batch_sec=9, epochs in",
    "~job._target_": "job._target_ is missing",
    "optim=adamw_8bit": "optim=adamw_8bit: runs on NVIDIA GPUs only; expected: trainer=gpu, or optim=adamw",
    "hypotheses=[h3,decoder_all]": "hypotheses=[h3,decoder_all]: h3 and decoder_all both override freeze; expected: one of them",
    # ablations
    "ablation=factorial factors={augmnt:[none,specaugment]}": "augmnt: no such key; did you mean augment?",
    "ablation=factorial factors={augment:[none,specaug]}": "augment=specaug: no such choice; expected: adult_to_child, codec, concat",
    "ablation=factorial factors={augment:[none,3]}": "augment=3: no such choice; expected: adult_to_child, codec, concat",
    "ablation=factorial factors={optim.lr:[1e-5,5e-5]}": "optim.lr: no such key; expected in optim: optim, learning_rate",
    "ablation=factorial factors={optim.learning_rate:[1e-5,-1]}": "optim.learning_rate=-1: should be greater than 0",
    "ablation=factorial factors={augment:[none]}": "factors.augment=['none']: should be two levels or more, of which the first is off;",
    "ablation=factorial factors={augment:none}": "factors.augment=none: should be two levels or more, of which the first is off;",
    "ablation=factorial factors=augment": "factors=augment: should be names with their levels; expected: factors='{augment: [none,",
    "ablation=factorial factors={}": "ablation=factorial: nothing to vary; expected: hypotheses=[h1,h4], or factors='{augment: [",
    "ablation=factorial hypotheses=[]": "ablation=factorial: nothing to vary; expected: hypotheses=[h1,h4], or factors='{augment: [",
    "ablation=factorial factors={augment:[none,none]}": "factors.augment=['none', 'none']: a level is listed twice; expected: each once",
    "ablation=factorial factors={augment:[none,specaugment],augment:[none]}": "factors: augment is a factor twice; expected: once",
    "ablation=factorial factors={seed:[1,2]}": "factors.seed: can't be a factor; expected: a config group or a key, as in factors='{",
    "ablation=factorial factors={logger:[none,wandb]}": "factors.logger: does not change the result (identity.ignored_keys); expected: ",
    "ablation=factorial hypotheses=[h4] factors={augment:[none,specaugment]}": "factors.augment: h4 overrides augment too; expected: either",
    "ablation=factorial factors={augment:[none,specaugment]} augment=none": "augment=none: ablation=factorial sets that; expected: seeds=1,2",
    "ablation=factorial factors={augment:[none,specaugment,specaugment_strong]}": (
        "factors.augment=[none,specaugment,specaugment_strong]: ablation=factorial takes two levels; expected: [OFF, ON], or "
        "ablation=one_at_a_time"
    ),
    "ablation=half_factorial hypotheses=[h1,h2,h3,h4]": "ablation=half_factorial: with 4 factors it confounds main effects or pairs",
    "ablation=screening hypotheses=[h1,h2,h3,h4]": "ablation=screening: with 4 factors it repeats a configuration; expected: ablation=",
    "ablation=one_at_a_time freeze.freeze_encoder_steps=0": "hypotheses=[h3]: the same run as hypotheses=[]; expected: factors that",
    "ablation=factorial hydra/sweeper=optuna": "hydra/sweeper=optuna: an ablation has a sweeper of its own; expected: only one of them",
    "factors={augment:[none,specaugment]}": "factors: no such key with this choice of job or ablation",
    # data
    "data.on_bad_audio=ignore": "data.on_bad_audio=ignore: should be 'error' or 'skip'",
    "data.max_bad_fraction=1.1": "data.max_bad_fraction=1.1: should be less than or equal to 1",
    "data.decode_check_sec=all": "data.decode_check_sec=all: should be a valid number",
    "data.tests.train=T.jsonl": "data.tests.train: the name of another set; expected: any name but train and validation",
    "data.tests={1st:T.jsonl}": "data.tests.1st: can't be the name of a set; expected: letters, digits, - and _, beginning with a letter",
    "data.tests={a/b:T.jsonl}": "data.tests.a/b: can't be the name of a set; expected: letters, digits, - and _, beginning with a letter",
    "data.tests=[T.jsonl]": "data.tests=[T.jsonl]: should be names with paths; expected: data.tests='{kids: K.jsonl, adults:",
    "data.tests.adults=3": "data.tests.adults=3: should be a valid string",
    "data.test=T.jsonl data.tests.test=U.jsonl": "data.tests.test: data.test is the set of that name already; expected: one of the two",
    "ablation=one_at_a_time on=grownups": "on=grownups: no such set; expected: validation, test, adults",
    "data=manifest": "data.train is missing; expected: data.train=",
    # one invalid job of a sweep, before the first starts
    "--multirun augment=specaugment augment.freq_mask_param=27,-1": "augment.specaugment.freq_mask_param=-1: should be greater than or equal to 0",
    "--multirun augment=none,specaug": "augment=specaug: no such choice",
}


@pytest.mark.parametrize(("command", "line"), MISTAKES.items())
def test_a_mistake_is_one_line(
    command: str, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_here(monkeypatch, *command.split())
    out, err = capsys.readouterr()
    assert err.startswith(f"error: {line}"), err
    assert (err.count("\n"), out, code) == (1, "", 2)


def test_what_is_no_part_of_a_job_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_here(monkeypatch, "freeze._target_=nowhere.Nothing", f"hydra.run.dir={tmp_path}")
    told = capsys.readouterr()
    assert told.err.startswith("error: freeze._target_: nowhere can't be imported: ")
    assert (told.err.count("\n"), code) == (1, 2)


def test_a_mistake_is_one_line_of_a_process_of_its_own() -> None:
    done = run_py("seed=-1")
    assert done.stderr == "error: seed=-1: should be greater than or equal to 0\n"
    assert (done.stdout, done.returncode) == ("", 2)


def test_two_mistakes_are_two_lines() -> None:
    with pytest.raises(ConfigError) as caught:
        check_config(composed("seed=-1", "augment=specaugment", "augment.time_mask_param=x"))
    assert len(str(caught.value).splitlines()) == 2


def warnings_of(records: Iterable[logging.LogRecord]) -> str:
    return "\n".join(record.getMessage() for record in records if record.levelno == logging.WARNING)


def test_checkpoints_that_miss_evaluations_are_a_warning_that_says_what_it_costs(caplog: pytest.LogCaptureFixture) -> None:
    check_config(composed("checkpoint=legacy"))
    assert "1 of 2 evaluations have no checkpoint" in warnings_of(caplog.records)
    caplog.clear()
    check_config(composed("checkpoint=aligned"))
    assert not warnings_of(caplog.records)


@pytest.mark.parametrize(
    ("run", "warning"),
    [
        ({"freeze_steps": 100}, "freeze.freeze_encoder_steps=100: the run ends after 100 steps"),
        ({"freeze_steps": 99}, None),
        ({"freeze_steps": -1}, None),
        ({"eval_steps": 101}, "checkpoint.eval_steps=101: the run has only 100 steps, so it is evaluated once"),
        ({"save_steps": 200}, "checkpoint.save_steps=200: the run has only 100 steps, so it is saved once"),
        ({"patience": 10}, "early_stopping.patience=10: the run has only 10 evaluations"),
        ({"patience": 5}, None),
    ],
)
def test_what_is_surely_not_meant_in_a_run_of_100_steps(run: dict[str, int], warning: str | None) -> None:
    usual = {"patience": 0, "eval_steps": 10, "save_steps": 10, "freeze_steps": 0}
    found = list(run_length_warnings(100, **{**usual, **run}, part="encoder"))
    assert len(found) == (warning is not None)
    assert not warning or found[0].startswith(warning)


def test_a_warm_up_as_long_as_the_run_is_the_longest_accepted() -> None:
    assert not list(run_length_contradictions(100, warmup_steps=100, patience=0, eval_steps=10))
    assert list(run_length_contradictions(100, warmup_steps=101, patience=0, eval_steps=10))
