"""Whole sessions of a robot in a headless Chromium: what it did is what is exported."""

import contextlib
import json
import shutil
import sqlite3
import threading
import time
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from small_study import make_study, served

from hf_alignet.collect.brought_results import import_results
from hf_alignet.collect.collected_answers import export_study
from hf_alignet.collect.static_site import build_static
from hf_alignet.judgments import load_judgments

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.timeout(90),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; `make browser` installs Debian's"),
]
OFFLINE = 3.0  # seconds, and those of two answers before
KEYS = ("ArrowLeft", "ArrowUp", "ArrowRight")
PHONE = {"viewport": {"width": 390, "height": 780}, "has_touch": True, "is_mobile": True}
# The page tells when it showed the pictures and for how long it waited, independently of the code under test. The
# storage of the tab outlives the last answer, which loads another page.
WATCH = """
window.shownAt = 0;
new MutationObserver(() => {
  const shown = document.getElementById("pictures");
  if (shown && !shown.classList.contains("away") && !window.seen) {
    window.seen = true;
    requestAnimationFrame((now) => { window.shownAt = now; });
  }
  if (shown && shown.classList.contains("away")) { window.seen = false; window.shownAt = 0; }
}).observe(document, {subtree: true, attributes: true, childList: true});
for (const kind of ["keydown", "pointerdown"])
  addEventListener(kind, (event) => {
    if (window.shownAt > 0) sessionStorage.waited = event.timeStamp - window.shownAt;
  }, true);
"""


@dataclass
class Given:
    """An answer of the robot: place on the screen, and seconds waited by the clock of the page and by its own."""

    odd: int
    in_page: float
    by_robot: float


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


class Robot:
    """Answers trials in a page by keys or by a finger, and notes what it did."""

    def __init__(self, page, touch: bool = False):
        self.page, self.touch = page, touch
        self.did: list[Given] = []
        page.set_default_timeout(20_000)
        page.add_init_script(WATCH)

    def begin(self, url: str) -> None:
        self.page.goto(url)
        self.page.get_by_label("I have read this").check()
        self.page.get_by_role("button", name="Begin").click()

    def go_on(self) -> None:
        """Presses the button of a screen between trials, until pictures are shown or the study is over."""
        button, pictures = self.page.locator("#go"), self.page.locator("#pictures:not(.away)")
        done = self.page.locator(".code:visible")
        button.or_(pictures).or_(done).locator("visible=true").first.wait_for()
        if button.is_visible():
            button.click()
            self.go_on()

    def answer(self, odd: int, wait: float = 0.25) -> None:
        self.go_on()
        self.until("window.shownAt > 0")
        place = self.place()
        asked = time.perf_counter()
        ago = self.page.evaluate("performance.now() - window.shownAt") / 1000
        shown = (asked + time.perf_counter()) / 2 - ago
        time.sleep(wait)
        pressed = time.perf_counter()
        self.press(odd)
        pressed = (pressed + time.perf_counter()) / 2
        self.next_trial(place)
        self.did.append(Given(odd, float(self.page.evaluate("sessionStorage.waited")) / 1000, pressed - shown))

    def press(self, odd: int) -> None:
        if self.touch:
            self.page.locator(f"#picture-{odd}").tap()
        else:
            self.page.keyboard.press(KEYS[odd])

    def place(self) -> int:
        return self.page.evaluate("document.getElementById('progress').value")

    def next_trial(self, place: int) -> None:
        """Waits until the trial at a place is over."""
        self.until(f"!(document.getElementById('progress')?.value <= {place})")

    def until(self, condition: str) -> None:
        """Asks the page again and again: a function that waits in it would be forbidden by the study's policy."""
        for _ in range(2000):
            with contextlib.suppress(playwright.Error):  # a page that is just being loaded
                if self.page.evaluate(condition):
                    return
            time.sleep(0.01)
        raise AssertionError(f"{condition} does not come true")

    def finish(self) -> None:
        self.go_on()
        self.page.locator(".code:visible").wait_for()


def stored(study: Path) -> list[tuple[int, int, float]]:
    """Participant, chosen place and seconds of all answers."""
    connection = sqlite3.connect(study / "study.sqlite3")
    rows = connection.execute("SELECT participant, odd, rt FROM answers ORDER BY participant, place").fetchall()
    connection.close()
    return rows


def check(study: Path, robots: dict[int, Robot]) -> None:
    """Every answer is stored as it was given, with the time that it took."""
    rows = stored(study)
    for number, robot in robots.items():
        own = [row[1:] for row in rows if row[0] == number]
        assert [odd for odd, _ in own] == [given.odd for given in robot.did]
        stored_rt = np.array([rt for _, rt in own])
        in_page = 1000 * np.abs(stored_rt - [given.in_page for given in robot.did])
        by_robot = 1000 * np.abs(stored_rt - [given.by_robot for given in robot.did])
        print(f"\n{'touch' if robot.touch else 'keys'}: stored response times differ from what was waited")
        for name, difference in (("by the page's clock", in_page), ("by the robot's clock", by_robot)):
            print(f"  {name}: median {np.median(difference):.1f} ms, most {difference.max():.1f} ms")
        assert in_page.max() < 50
        assert np.median(by_robot) < 50  # single ones hold the way of a command to the browser, too


def right_places(study: Path, trial_set: int) -> list[int | None]:
    """The right answer of each trial of a set, as its place on the screen."""
    connection = sqlite3.connect(study / "study.sqlite3")
    rows = connection.execute(
        "SELECT shown, odd FROM trials JOIN triplets ON triplet = number WHERE trial_set = ? ORDER BY place",
        (trial_set,),
    ).fetchall()
    connection.close()
    return [None if odd is None else shown.index(str(odd)) for shown, odd in rows]


def test_sessions_by_key_and_by_touch_are_exported_as_they_were(browser, tmp_path):
    """One with a reload and a lost connection in the middle; one by touch that fails the catch trials."""
    study = make_study(tmp_path, {"latest": 15.0}, {"completion_code": "C0DE"})
    rng = np.random.default_rng(0)
    with served(study) as server:
        page = browser.new_page()
        robot = Robot(page)
        robot.begin(f"{server.url}/?PROLIFIC_PID=p1&STUDY_ID=s&SESSION_ID=t")
        for place, right in enumerate(right_places(study, 0)):
            if place == 3:
                robot.go_on()
                page.reload()
            if place == 5:
                page.context.set_offline(True)
            if place == 7:
                time.sleep(OFFLINE)
                assert page.locator("#connection").is_visible()
                assert len(stored(study)) == 5
                page.context.set_offline(False)
            robot.answer(int(rng.integers(3)) if right is None else right, wait=float(rng.uniform(0.15, 0.5)))
        robot.finish()
        assert page.locator(".code").inner_text() == "C0DE"

        phone = browser.new_context(**PHONE).new_page()
        finger = Robot(phone, touch=True)
        finger.begin(server.url)
        for right in right_places(study, 1):
            finger.answer(0 if right is None else (right + 1) % 3)
        finger.finish()
    check(study, {1: robot, 2: finger})
    counts = export_study(str(study), str(tmp_path / "out"))
    assert (counts["participants"], counts["careless"], counts["kept"]) == (2, 1, 8)
    judgments = load_judgments(str(tmp_path / "out"))["train"]
    assert set(judgments["participant"]) == {"1"}
    assert np.allclose(judgments["rt"], [given.in_page for given in robot.did[1:]], atol=0.05)
    assert "p1" not in (tmp_path / "out" / "participants.csv").read_text()


def test_second_tab_takes_over_and_the_first_is_told(browser, tmp_path):
    study = make_study(tmp_path, texts={"completion_code": "C0DE"})
    with served(study) as server:
        context = browser.new_context()
        first = Robot(context.new_page())
        first.begin(server.url)
        first.answer(0)
        first.answer(1)
        second = Robot(context.new_page())
        second.page.goto(server.url)
        second.answer(2)
        first.page.get_by_text("open in another tab").wait_for()
        for place in range(6):
            second.answer(place % 3)
        second.finish()
    assert [odd for _, odd, _ in stored(study)] == [0, 1, 2, 0, 1, 2, 0, 1, 2]


def test_time_out_is_noted_and_early_answers_do_not_count(browser, tmp_path):
    study = make_study(tmp_path, {"earliest": 0.3, "latest": 0.8}, {"completion_code": "C0DE"}, catch_trials=0)
    with served(study) as server:
        robot = Robot(browser.new_page())
        robot.begin(server.url)
        robot.go_on()
        robot.until("window.shownAt > 0")
        robot.page.keyboard.press("ArrowLeft")
        for place in range(7):
            robot.next_trial(place)
            robot.go_on()
        robot.finish()
    assert {row[1:] for row in stored(study)} == {(None, None)} and len(stored(study)) == 7


def test_static_site_gives_a_file_that_comes_back(browser, tmp_path):
    study = make_study(tmp_path, texts={"completion_code": "C0DE"})
    build_static(str(study), str(tmp_path / "site"))
    with files_at_an_address(tmp_path / "site") as url:
        page = browser.new_page(accept_downloads=True)
        robot = Robot(page)
        page.goto(f"{url}/?set=2&PROLIFIC_PID=p9")
        page.get_by_label("I have read this").check()
        page.get_by_role("button", name="Begin").click()
        for place in range(8):
            if place == 4:
                page.reload()
            robot.answer(place % 3)
        with page.expect_download() as download:
            robot.answer(2)
        robot.finish()
        download.value.save_as(tmp_path / "results" / "one.json")
    assert json.loads((tmp_path / "results" / "one.json").read_text())["trial_set"] == 2
    assert import_results(str(study), [str(tmp_path / "results")]) == 1
    assert import_results(str(study), [str(tmp_path / "results")]) == 0
    check(study, {1: robot})


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def files_at_an_address(folder: Path):
    """The address of the files of a folder."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
