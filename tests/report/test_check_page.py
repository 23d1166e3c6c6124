"""The page of job=check in a real browser."""

import contextlib
from pathlib import Path

import pytest
from hydra.utils import instantiate
from selenium import webdriver
from selenium.webdriver.common.by import By

from kidasr.errors import FindingsError
from tests.conftest import composed, read_json
from tests.corpus.checks.planted import Planted
from tests.report.conftest import opened

pytestmark = pytest.mark.figures


def test_the_page_has_players_of_the_worst_utterances_of_each_kind(tmp_path: Path, chromium: webdriver.Chrome) -> None:
    hostile = "<script>window.hacked=1</script>"
    planted = Planted(tmp_path, planted=True, also=[{"text": f"{hostile} orange", "utterance_id": hostile}])
    cfg = composed("job=check", *planted.overrides(), "report.embed_audio_mb=1")
    cfg.job.output_dir = str(tmp_path / "check")
    with contextlib.suppress(FindingsError):
        instantiate(cfg.job).run()
    opened(chromium, tmp_path / "check" / "check.html")
    titles = [one.text for one in chromium.find_elements(By.TAG_NAME, "h2")]
    for one in read_json(tmp_path / "check" / "check.json")["findings"]:
        assert f"{one['kind'].replace('_', ' ')} ({one['severity']})" in titles
    assert chromium.execute_script("return window.hacked") is None
    assert any(hostile in one.text for one in chromium.find_elements(By.CSS_SELECTOR, ".cards li"))
    audio = chromium.find_elements(By.TAG_NAME, "audio")
    play = "const [a, done] = arguments; a.addEventListener('loadedmetadata', () => done(a.duration)); a.load();"
    embedded = next(one for one in audio if str(one.get_attribute("src")).startswith("data:"))
    linked = next(one for one in audio if str(one.get_attribute("src")).startswith("file:"))
    for one in (embedded, linked):
        assert chromium.execute_async_script(play, one) > 0.3, "seconds that the browser can play"
