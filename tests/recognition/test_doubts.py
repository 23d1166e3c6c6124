from kidasr.recognition.doubts import OtherInput, doubts_after, doubts_before, doubts_of
from kidasr.recognition.score import Rates


def rates(wer: float | None, runaways: int = 0) -> Rates:
    return Rates(
        wer=wer,
        cer=wer,
        words=100,
        utterances=20,
        substitutions=0,
        deletions=0,
        insertions=0,
        empty_references=0,
        runaways=runaways,
    )


def test_a_checkpoint_that_writes_something_else_than_transcripts_is_doubted() -> None:
    assert not list(doubts_before(rates(0.9), "WER"))
    assert not list(doubts_before(rates(None), "WER"))
    (doubt,) = doubts_before(rates(39.69, runaways=13), "WER")
    assert doubt.startswith("zero-shot WER is 3969.0%: 13 of 20 transcripts loop endlessly (65.0%). Likely causes:")
    assert "model.language" in doubt and "model.task" in doubt


def test_a_model_that_got_worse_is_doubted() -> None:
    assert not list(doubts_after(rates(0.4), rates(0.4), "WER", is_short=True))
    assert not list(doubts_after(None, rates(0.9), "WER", is_short=True))
    (doubt,) = doubts_after(rates(0.278), rates(10.11, runaways=10), "CER", is_short=True)
    assert doubt.startswith("final CER is 1011.0%, worse than before training (27.8%): 10 of 20 transcripts loop endlessly")
    assert "not adapted to short input yet" in doubt and "trainer.generation_max_tokens_per_sec" in doubt
    (doubt,) = doubts_after(rates(0.278), rates(0.3), "WER", is_short=False)
    assert "short input" not in doubt and "optim.learning_rate" in doubt
    assert list(doubts_after(None, rates(1.2), "WER", is_short=False)), "also where nothing was scored before"


def test_what_was_tried_on_the_full_window_shows_whether_short_input_is_the_cause() -> None:
    window = OtherInput(input="window", utterances=32, wer=0.281, own_wer=9.9)
    (doubt,) = doubts_after(rates(0.278), rates(10.11), "WER", True, window, "trainer.max_steps=200")
    assert "The cause: the model is not used to short input yet" in doubt and "Likely" not in doubt
    assert "The same weights have 28.1% WER on the full window and 990.0% on short input (32 utterances)" in doubt
    assert "Train longer: type trainer.max_steps=200; or train on the full window: type padding=max_length" in doubt
    as_bad = OtherInput(input="window", utterances=32, wer=9.0, own_wer=9.9)
    (doubt,) = doubts_after(rates(0.278), rates(10.11), "WER", True, as_bad)
    assert "optim.learning_rate is too high" in doubt and "not used to short input" not in doubt
    assert "It is not short input: the same weights have 900.0% WER on the full window" in doubt


def test_an_evaluation_is_doubted_for_its_own_reasons() -> None:
    assert not list(doubts_of(rates(0.99), "WER"))
    (doubt,) = doubts_of(rates(1.5), "WER")
    assert "model.language is not the spoken language" in doubt and "learning_rate" not in doubt
    short = OtherInput(input="short", utterances=32, wer=0.2, own_wer=1.4)
    (doubt,) = doubts_of(rates(1.5), "WER", short)
    assert "The cause: this model wants short input" in doubt and doubt.endswith("Type input_length=short")
