"""Which checkpoint is kept, and what is said of the choice."""

from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerState

from kidasr.training.checkpoint import ERRORS, RUNAWAYS, Checkpoint
from tests.conftest import job, read_json


def evaluation(step: int, errors: list[int], *runaways: int) -> dict[str, Any]:
    """Of three utterances of ten words."""
    return {
        "step": step,
        "eval_wer": sum(errors) / 30,
        ERRORS: errors,
        **({RUNAWAYS: list(runaways)} if runaways else {}),
    }


@pytest.mark.parametrize(
    ("history", "save_steps", "said"),
    [
        pytest.param(
            [evaluation(10, [4, 4, 6]), evaluation(20, [2, 2, 60], 2)],
            10,
            "1 of 3 transcripts, which repeat themselves at some evaluation, decided that step 10 is kept: without them "
            "step 20 would be the best, with WER 20.0% instead of 40.0%. average=last chooses nothing",
            id="one decides",
        ),
        pytest.param([evaluation(10, [2, 2, 60], 2), evaluation(20, [1, 2, 60], 2)], 10, "", id="the same in all"),
        pytest.param([evaluation(10, [4, 4, 6]), evaluation(20, [6, 6, 6])], 10, "", id="none"),
        pytest.param(
            [evaluation(10, [2, 2, 60], 2), evaluation(20, [4, 4, 6])], 20, "", id="the better one had no checkpoint"
        ),
        pytest.param([evaluation(10, [1, 9, 9], 0, 1, 2)], 10, "", id="nothing is left"),
    ],
)
def test_a_choice_that_transcripts_which_repeat_themselves_have_decided_is_named(
    history: list[dict[str, Any]], save_steps: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    saved = [one for one in history if one["step"] % save_steps == 0]
    best = min(saved, key=lambda one: one["eval_wer"])["step"]
    state = TrainerState(log_history=history, best_model_checkpoint=f"checkpoint-{best}", max_steps=25)
    Checkpoint(10, save_steps, 5, True).report_runaways(state, [10, 10, 10])
    assert caplog.messages == ([said] if said else [])


def test_a_run_records_the_transcripts_that_repeat_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The micro model has none, so one utterance stands for them."""
    found: set[str] = set()

    def loops(reference: str, hypothesis: str) -> bool:
        found.add(reference)
        return reference == min(found)

    monkeypatch.setattr("kidasr.training.trainer.is_runaway", loops)
    job(tmp_path, "debug=smoke", "report=none").run()
    (state, *_) = sorted(tmp_path.glob("checkpoints/checkpoint-*/trainer_state.json"))
    (first, *_) = [entry for entry in read_json(state)["log_history"] if ERRORS in entry]
    assert first[RUNAWAYS] and max(first[RUNAWAYS]) < len(first[ERRORS])
