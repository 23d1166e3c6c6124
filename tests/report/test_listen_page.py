"""The page of job=listen in a real browser."""

from pathlib import Path

import pytest
from hydra.utils import instantiate
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.conftest import composed
from tests.report.conftest import opened

pytestmark = pytest.mark.figures


def test_the_page_plays_and_shows_utterances_before_and_after(tmp_path: Path, chromium: webdriver.Chrome) -> None:
    cfg = composed(
        "job=listen", "augment=[concat,noise,vtlp]", "utterances=1", "report.embed_audio_mb=0.1", "data.limit_train=40"
    )
    cfg.job.output_dir = str(tmp_path / "listen")
    instantiate(cfg.job).run()
    opened(chromium, tmp_path / "listen" / "listen.html")
    titles = [one.text for one in chromium.find_elements(By.TAG_NAME, "h2")]
    assert titles == ["concat", "noise", "vtlp", "all of them", "Length of the training utterances"]
    images = chromium.find_elements(By.CSS_SELECTOR, ".cards img")
    assert len(images) == 8 and all(one.size["height"] > 50 < one.size["width"] for one in images)
    audio = chromium.find_elements(By.TAG_NAME, "audio")
    assert len(audio) == 7, "features can't be heard"
    play = "const [a, done] = arguments; a.addEventListener('loadedmetadata', () => done(a.duration)); a.load();"
    sources = {str(one.get_attribute("src")).partition(":")[0] for one in audio}
    assert sources == {"data", "file"}
    assert all(chromium.execute_async_script(play, one) > 0.3 for one in audio), "seconds that the browser can play"
    assert any("SNR" in one.text for one in chromium.find_elements(By.CSS_SELECTOR, ".cards li"))
