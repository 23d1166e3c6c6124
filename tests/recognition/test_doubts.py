from kidasr.recognition.doubts import doubts_after, doubts_before
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
