"""A real browser."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (browser and driver):
        pytest.skip("no browser here: Debian's chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driven = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield driven
    driven.quit()


def opened(chromium: webdriver.Chrome, page: Path) -> None:
    """Open a page; check that it logs nothing to the console and requests nothing from the network."""
    chromium.get("about:blank")
    chromium.get_log("performance")  # discard the browser's own messages
    chromium.get(page.as_uri())
    figures = chromium.find_elements(By.CSS_SELECTOR, "figure svg")
    assert figures and all(figure.size["height"] > 50 for figure in figures)
    ids = [one.get_attribute("id") for one in chromium.find_elements(By.CSS_SELECTOR, "[id]")]
    assert len(ids) == len(set(ids)), "two figures in a page must not share an id"
    assert chromium.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    urls = [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    assert [url for url in urls if not url.startswith(("file:", "data:", "blob:"))] == []
