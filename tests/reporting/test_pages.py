"""report.html: its content, and its behaviour in a browser."""

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from gmlight.artifacts.record import RunRecord
from gmlight.artifacts.run_folder import RunFolder
from gmlight.callbacks import page
from gmlight.commands import report
from gmlight.condensation.condenser import Condenser
from gmlight.errors import ConfigError
from gmlight.reporting import run_page
from gmlight.reporting.curves import POINTS, draw_curves
from gmlight.reporting.data_table import DataTable
from gmlight.reporting.paper import Cell, PaperAccuracy
from gmlight.reporting.run_page import PICTURES, State, write_run_page
from gmlight.runtime.signals import Stopped

OFTEN = ("log_every=1", "evaluation.every=1", "evaluation.quick_networks=1")


class Page(HTMLParser):
    """The elements of a page, with attributes, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_page_of_a_finished_run_is_complete(run: Callable[..., Path]) -> None:
    folder = run(*OFTEN)
    page, result = Page(folder / "report.html"), json.loads((folder / "result.json").read_text())
    assert "finished" in page.text
    assert result["command"] in page.text
    for row in result["evaluations"]:
        assert f"{row['accuracy']['mean']:.2f} ± {row['accuracy']['std']:.2f}" in page.text
    assert result["environment"]["torch"] in page.text
    assert "real_batch:" in page.text  # the configuration
    ours = [attributes for attributes in page.all("tr") if "ours" in str(attributes.get("class"))]
    assert len(ours) == len([row for row in result["evaluations"] if row["name"] == "condensed"]) > 0
    assert "0, 1, 2, 3, 4, ... (10)139 to 146 each35 to 37 each" in page.text.replace("\n", "")  # the data
    pictures = [image for image in page.all("img") if image.get("class") == "picture"]
    assert [image["data-iteration"] for image in pictures] == ["0", "1", "2"]
    assert ["hidden" in image for image in pictures] == [True, True, False]
    titles = ("Test accuracy", "Matching loss", "Norm of the class", "Angle between", "Loss of the network")
    assert all(title in page.text for title in titles)
    assert len(page.all("source")) == len(titles)  # each also for dark mode


def test_page_loads_nothing_from_outside(run: Callable[..., Path], tmp_path: Path) -> None:
    folder = run(*OFTEN)
    report.report({"runs": str(folder), "html": str(tmp_path / "all.html")})
    for path in (folder / "report.html", tmp_path / "all.html"):
        page = Page(path)
        named = [element.get(key) for _, element in page.elements for key in ("src", "srcset", "href")]
        assert [place for place in named if place is not None and not place.startswith("data:")] == []
        assert all(image.get("alt") for image in page.all("img"))
        assert not {"iframe", "object", "embed"} & {name for name, _ in page.elements}
        for word in ("@import", "url("):
            assert word not in path.read_text()


def test_paper_figure_is_shown_where_the_paper_has_the_cell(tmp_path: Path) -> None:
    record = a_record(dataset="mnist", method="md")
    page = Page(
        write_run_page(RunFolder(tmp_path), record, ("0", "1"), State("condensing", 3, 10, 60.0, 140.0))
    )
    assert "the paper (Table 3, md)" in page.text
    assert "91.9 ± 0.4" in page.text
    for beside in ("random", "herding", "whole"):
        assert f"the paper (Table 3, {beside})" in page.text
    assert "3 of 10 outer iterations" in page.text
    assert "0:02:20 left" in page.text
    assert "resume it with" in page.text
    departed = replace(record, departures=["image_lr=1"])
    assert (
        "the paper"
        not in Page(write_run_page(RunFolder(tmp_path), departed, ("0",), State("condensing", 3, 10))).text
    )


def test_user_text_is_escaped(tmp_path: Path) -> None:
    record = a_record(dataset="<script>alert(1)</script>", method="md")
    (tmp_path / "samples").mkdir()
    a_picture(tmp_path / "samples" / "00000.png")
    data = DataTable([("<u>", "1", "2")], ("passed over: <em>",))
    state = State("stopped", 1, 2, reason="<b>why</b>")
    path = write_run_page(RunFolder(tmp_path), record, ('a"b', "<i>"), state, data)
    page = Page(path)
    assert "<script>alert" not in path.read_text()
    for text in ("<b>why</b>", "<u>", "passed over: <em>"):
        assert text in page.text
    assert (
        page.all("img")[0]["alt"] == 'Synthetic images after 0 outer iterations, one row per class: a"b, <i>'
    )


def test_number_of_pictures_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "samples").mkdir()
    for k in range(0, 1010, 10):
        a_picture(tmp_path / "samples" / f"{k:05d}.png")
    a_picture(tmp_path / "samples" / "notes.png")  # a user's file
    page = Page(
        write_run_page(RunFolder(tmp_path), a_record("mnist", "md"), ("0",), State("condensing", 1000, 1000))
    )
    shown = [int(image["data-iteration"] or -1) for image in page.all("img")]
    assert (len(shown), shown[0], shown[-1]) == (PICTURES, 0, 1000)
    assert shown == sorted(set(shown))
    monkeypatch.setattr(run_page, "PICTURES_BYTES", 10)
    page = Page(
        write_run_page(RunFolder(tmp_path), a_record("mnist", "md"), ("0",), State("condensing", 1000, 1000))
    )
    assert page.all("img") == []
    assert "too large for a page" in page.text


def test_page_exists_from_the_start(run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int]] = []
    write = page.write_run_page

    def noting(folder: RunFolder, record: RunRecord, classes: Any, state: State, data: DataTable) -> Path:
        path = write(folder, record, classes, state, data)
        assert state.name in Page(path).text
        seen.append((state.name, state.done))
        return path

    monkeypatch.setattr(page, "write_run_page", noting)
    run(*OFTEN)
    assert seen == [("condensing", 0), ("condensing", 1), ("evaluating", 2), ("finished", 2)]


def test_page_error_does_not_end_the_run(
    run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(*_: Any) -> Path:
        raise RuntimeError("no fonts")

    monkeypatch.setattr(page, "write_run_page", failing)
    assert (run() / "result.json").exists()
    assert "report.html cannot be written: RuntimeError('no fonts')" in capsys.readouterr().out


def test_page_of_a_failed_run_shows_the_error(run: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not finite"):
        run("image_lr=1e30")
    page = Page(tmp_path / "run0" / "report.html")
    assert "stopped" in page.text
    assert "is not finite" in page.text


def test_page_of_a_stopped_run_shows_how_to_resume(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Condenser.training_step

    def stopped(self: Condenser, batch: Any, batch_idx: int) -> None:
        if batch.k == 1:
            raise Stopped(signal.SIGTERM)
        step(self, batch, batch_idx)

    monkeypatch.setattr(Condenser, "training_step", stopped)
    with pytest.raises(Stopped):
        run()
    page = Page(tmp_path / "run0" / "report.html")
    assert "stopped by SIGTERM" in page.text
    assert f"resume={tmp_path / 'run0'}" in page.text


def test_page_without_csv_says_how_to_get_curves(run: Callable[..., Path]) -> None:
    assert "Add csv to logger" in Page(run("logger=none") / "report.html").text


def test_page_of_a_set_without_condensation(run: Callable[..., Path]) -> None:
    page = Page(run("method=random") / "report.html")
    assert "finished" in page.text
    assert "outer iterations" not in page.text.split("Real images")[0]
    assert page.all("progress") == []
    assert "Real images" in page.text
    assert "random images" in page.text  # the name of the set among the accuracies
    assert str(page.all("img")[0]["alt"]).startswith(
        "Real images after 0 outer iterations, one row per class: 0, 1"
    )


def test_accuracies_of_a_run_that_goes_on_are_the_last_ones(run: Callable[..., Path]) -> None:
    record = RunRecord.from_dict(json.loads(RunFolder(run()).result.read_text()))
    rows = [{"iteration": str(k), "accuracy/mean": mean, "accuracy/std": "1.5"}
            for k, mean in ((1, "40"), (2, ""), (3, "50.127"), (4, ""))]  # fmt: skip
    (row,) = [row for row in run_page._accuracy_rows(record, rows, None) if row.n]
    assert (row.name, row.accuracy) == ("condensed, after 3 iterations", "50.13 ± 1.50")
    assert row.images == 20


def test_long_curves_are_averaged() -> None:
    lines = [{"iteration": str(k), "gradient_angle/overall": str(k % 2)} for k in range(5 * POINTS)]
    (curve,) = draw_curves(lines, {})
    assert curve.title == "Angle between the class gradients"
    assert "from 0.4 to 0.6" in curve.text  # each point is the mean of five


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no chromium with its driver here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1200,900"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


def opened(browser: Any, path: Path) -> None:
    """Opens the page, and asserts that it logs no error and loads nothing else."""
    for kind in ("browser", "performance"):
        browser.get_log(kind)  # clears the log
    browser.get(path.as_uri())
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert {url for url in requests if not url.startswith("data:")} == {path.as_uri()}


def test_slider_moves_the_picture_in_a_browser(run: Callable[..., Path], browser: Any) -> None:

    opened(browser, run(*OFTEN) / "report.html")
    pictures = browser.find_elements(By.CSS_SELECTOR, "img.picture")
    slider = browser.find_element(By.CSS_SELECTOR, "input[type=range]")
    assert [picture.is_displayed() for picture in pictures] == [False, False, True]
    slider.send_keys(Keys.ARROW_LEFT)
    assert [picture.is_displayed() for picture in pictures] == [False, True, False]
    assert browser.find_element(By.TAG_NAME, "output").text == "1 outer iterations"
    slider.send_keys(Keys.HOME)
    assert [picture.is_displayed() for picture in pictures] == [True, False, False]
    assert all(picture.get_property("naturalWidth") > 0 for picture in pictures)
    curves = browser.find_elements(By.CSS_SELECTOR, ".curves img")
    assert len(curves) == 5
    assert all(curve.get_property("naturalWidth") > 0 for curve in curves)
    for width in (1200, 400):  # nothing overflows a small screen
        browser.set_window_size(width, 900)
        inner = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
        assert inner[0] <= inner[1]


def test_table_sorts_in_a_browser(run: Callable[..., Path], browser: Any, tmp_path: Path) -> None:

    for seed, ipc in ((0, 2), (1, 10), (2, 1)):
        run(f"ipc={ipc}", f"seed={seed}")
    report.report({"runs": str(tmp_path / "run*"), "html": str(tmp_path / "all.html")})
    opened(browser, tmp_path / "all.html")
    assert len(browser.find_elements(By.CSS_SELECTOR, ".grids img")) == 3

    def column(i: int) -> list[str]:
        cells = browser.find_elements(By.CSS_SELECTOR, f"#runs tbody td:nth-child({i + 1})")
        return [cell.text for cell in cells]

    heads = browser.find_elements(By.CSS_SELECTOR, "#runs th")
    for name, key in (("ipc", float), ("seed", float), ("accuracy, %", float), ("folder", str)):
        (i,) = [i for i, head in enumerate(heads) if head.text.startswith(name)]
        button = heads[i].find_element(By.TAG_NAME, "button")
        button.click()
        assert column(i) == sorted(column(i), key=key)
        assert heads[i].get_attribute("aria-sort") == "ascending"
        button.click()
        assert column(i) == sorted(column(i), key=key, reverse=True)
        assert heads[i].get_attribute("aria-sort") == "descending"


def a_record(dataset: str, method: str) -> RunRecord:
    config = {
        "dataset": {"name": dataset, "classes": ["0"]}, "ipc": 1, "iterations": 10, "seed": 0,
        "logger": {"csv": {}},
        "evaluation": {"epochs": 1, "quick_networks": 1},
    }  # fmt: skip
    choices = {
        "architecture": "convnet", "matching": "multilevel", "distance": "cos_euclid", "schedule": "fixed",
    }  # fmt: skip
    return RunRecord(
        command="python -m gmlight.train",
        overrides=[],
        choices=choices,
        config=config,
        method=method,
        departures=[],
        scale="paper",
        architecture="convnet",
        protocol="plain",
    )


def a_picture(path: Path) -> None:

    Image.new("RGB", (8, 8)).save(path)


def test_an_accuracy_is_compared_with_baselines_and_one_cell_of_the_paper(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the set's own architecture; a run may stand in several tables."""
    cells = [(Cell("table3", "mnist", 1, "md"), PaperAccuracy(91.9, 0.4)),
             (Cell("table2", "mnist", 1, "cos_euclid"), PaperAccuracy(80.0, 0.4))]  # fmt: skip
    monkeypatch.setattr(run_page, "paper_accuracies_for", lambda record: cells)

    def row(name: str, architecture: str, mean: float) -> dict[str, Any]:
        return {"name": name, "architecture": architecture, "accuracy": {"mean": mean}}

    rows = [("condensed", "convnet", 90.0), ("condensed", "mlp", 70.0), ("random images", "convnet", 64.0),
            ("random images", "mlp", 50.0)]  # fmt: skip
    result = {"evaluations": [row(*values) for values in rows]}
    record: Any = None
    assert run_page._baselines(record, result) == {"random images": 64.0, "the paper, md": 91.9}
    assert run_page._baselines(record, None) == {"the paper, md": 91.9}
