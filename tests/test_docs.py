"""The documentation: its site is built without a warning, and what its pages tell to do works."""

import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import MICRO, ROOT, read_json, run_here

DOCS = ROOT / "docs"


def write_example(page: str, folder: Path) -> list[str]:
    """Write the files of a page of the documentation, each given as its path and then a block; returns their paths."""
    text = (DOCS / page).read_text(encoding="utf-8")
    files = re.findall(r"`(mine/[\w./]+)`[^`\n]*(?:`[^`]*`[^`\n]*)*:\n\n```\w+\n(.*?)```", text, re.DOTALL)
    for name, content in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return [name for name, _ in files]


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The files of docs/new_augmentation.md in a working directory of their own; their module is unloaded afterwards."""
    monkeypatch.chdir(tmp_path)
    path = sys.path.copy()
    yield write_example("new_augmentation.md", tmp_path)
    sys.path[:] = path
    sys.modules.pop("slower", None)


def test_a_new_augmentation_is_two_files_as_its_page_says(
    example: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert example == ["mine/augment/slower.yaml", "mine/slower.py", "mine/hypotheses/slower.yaml"]
    (tmp_path / "mine" / "hypotheses" / "slower.yaml").unlink()
    short = ("debug=smoke", "report=none", "trainer.zero_shot=false", "data.limit_validation=2", "schedule.warmup_steps=0")
    weights = {}
    for name, augment in (("off", ()), ("on", ("augment=slower", "augment.p=1"))):
        typed = ("--config-dir=mine", *augment, *short, f"hydra.run.dir={name}")
        assert run_here(monkeypatch, *typed) == 0, capsys.readouterr().err
        weights[name] = load_file(f"{name}/model/model.safetensors")
    assert any(not torch.equal(weights["on"][name], tensor) for name, tensor in weights["off"].items())
    assert "augment: slower: Slower" in Path("on/run.log").read_text(encoding="utf-8")
    assert run_here(monkeypatch, "--config-dir=mine", "augment=slower", "augment.slowest=2") == 2
    assert capsys.readouterr().err.strip().endswith("error: augment.slower.slowest=2: should be less than 1")


@pytest.mark.slow
def test_the_example_of_the_python_page(tmp_path: Path) -> None:
    corpus = MICRO.parent / "corpus"
    for name, source in (("T.jsonl", "train"), ("V.jsonl", "validation")):
        (tmp_path / name).write_text((corpus / f"{source}.jsonl").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "audio").symlink_to(corpus / "audio")
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "python.md").read_text(encoding="utf-8"), re.DOTALL)
    for shown, run in (
        ("model=whisper", "debug=smoke"),
        ("model.name_or_path=openai/whisper-tiny.en", "trainer.max_steps=1"),
    ):
        assert f'"{shown}"' in code
        code = code.replace(shown, run)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "augment:\n  specaugment:\n    _target_: kidasr.features.specaugment.SpecAugment\n" in done.stdout
    masked = read_json(tmp_path / "outputs" / "masked" / "config.json")["augment"]
    assert masked["specaugment"]["freq_mask_param"] == 20
    assert read_json(tmp_path / "outputs" / "plain" / "config.json")["augment"] == {}


def ideas() -> list[str]:
    """The commands of all pages of ideas, which the site adds to them."""
    sys.path.insert(0, str(DOCS))
    pages: Any = importlib.import_module("extension.ideas")
    sys.path.remove(str(DOCS))
    return list(dict.fromkeys(command for name in pages.names() for command in pages.commands(name)))


@pytest.mark.slow
def test_the_commands_of_all_ideas_are_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Composed and checked; that each idea trains is a matter of other tests."""
    import kidasr.cli.main

    def nothing(*_: object) -> None: ...

    monkeypatch.chdir(tmp_path)
    for command in ideas():
        with monkeypatch.context() as patched:
            patched.setattr(kidasr.cli.main, "run_job", nothing)
            patched.setattr(sys.modules["kidasr.cli.launch"], "check_place", nothing)
            typed = shlex.split(command)[2:]
            code = run_here(patched, *typed)
        told = capfd.readouterr().err
        assert code == 0, f"{command}\n{told}"


class Links(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := given.get(name))}
        self.links += [value for name in ("href", "src") if (value := given.get(name))]


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_no_link_in_it_is_broken(tmp_path: Path) -> None:
    command = next(
        line for line in (DOCS / "site.md").read_text(encoding="utf-8").splitlines() if "python -m sphinx" in line
    )
    arguments = [sys.executable, *shlex.split(command)[1:-1], str(tmp_path / "site"), "-d", str(tmp_path / "doctrees")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = {page.resolve(): Links(page) for page in (tmp_path / "site").rglob("*.html")}
    site = (tmp_path / "site").resolve()
    assert {site / "ideas" / f"{path.stem}.html" for path in (ROOT / "conf" / "hypotheses").glob("*.yaml")} <= set(pages)
    broken = []
    for page, found in pages.items():
        for link in found.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            anchor_is_missing = parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors
            if not target.exists() or anchor_is_missing:
                broken.append(f"{page.relative_to(site)}: {link}")
    assert not broken, "\n".join(broken[:20])


def test_every_link_between_pages_works_in_the_repository() -> None:
    broken = []
    for page in [ROOT / "README.md", *DOCS.glob("*.md"), *DOCS.glob("ideas/*.md")]:
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", re.sub(r"(?s)```.*?```", "", text)):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            if not target.exists():
                broken.append(f"{page.name}: {link}")
            elif anchor and target.suffix == ".md":
                headings = re.findall(r"(?m)^#+ (.*)$", target.read_text(encoding="utf-8"))
                if anchor not in {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}:
                    broken.append(f"{page.name}: {link}")
    assert not broken, "\n".join(broken)
