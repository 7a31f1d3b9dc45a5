"""The page in a real browser, with a keyboard and on a phone; and what its server gives to others."""

import io
import socket
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hf_alignet.errors import InputError
from hf_alignet.explore import markup
from hf_alignet.explore.thumbnails import Thumbnails

pytest.importorskip("gradio", reason="the extra app is not installed")

from hf_alignet.explore.gradio_page import Board, Page, Placed
from hf_alignet.explore.page_server import map_data, serve

CHROMIUM = "/usr/bin/chromium"
SLOW = 20_000  # ms, on a busy machine


@pytest.fixture(scope="module")
def served(world):
    """A page whose uploads are embedded as row 0, its address, and the hosts that this process has called."""
    called, connect = [], socket.socket.connect

    def noted(self, address):
        called.append(address[0] if isinstance(address, tuple) else "local")
        return connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", noted)
        first = {name: of_model[0] for name, of_model in world.embeddings.items()}
        page = Page(world, Thumbnails(world.images), lambda picture: first, "What is similar?", "<i>note</i>")
        address = serve(page, "127.0.0.1", None, share=False)
        yield page, address, called
        page.blocks.close(verbose=False)


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if not Path(CHROMIUM).is_file():
        pytest.skip(f"there is no {CHROMIUM}")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def opened(browser, address, **options):
    """A tab with the page, and what it asks for and complains about."""
    tab = browser.new_context(**options).new_page()
    tab.set_default_timeout(SLOW)
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda said: asked.append(f"console: {said.text}") if said.type == "error" else None)
    tab.goto(address)
    tab.wait_for_selector("table.board")
    return tab, asked


@pytest.mark.browser
def test_a_visitor_with_a_keyboard(served, chromium, world):
    page, address, called = served
    tab, asked = opened(chromium, address, viewport={"width": 1200, "height": 900})
    for place, row in enumerate((0, 1, 3)):  # a cat, a dog and a car
        tab.locator(f".grid button[data-row='{row}']:visible").focus()
        tab.keyboard.press("Enter")
        tab.wait_for_selector(f"table.board button[data-place='{place}'] img")
    said = tab.locator("table.board tr.who").all_inner_texts()
    expected = world.odd_one_out([0, 1, 3], {name: x[[0, 1, 3]] for name, x in world.embeddings.items()})
    assert len(said) == len(expected) and expected.odd[1] == 2
    assert "odd one out: car (row 3)" in said[1] and f"entropy {expected.entropy[1]:.2f}" in said[1]
    assert tab.locator("table.board img").first.get_attribute("alt") == "<b>cat</b> (row 0)"
    assert tab.locator("table.board b").count() == 0  # names stay text

    png = io.BytesIO()
    Image.new("RGB", (300, 200), "red").save(png, "PNG")
    uploads = [
        ("mine.png", png.getvalue(), "your picture"),
        ("bad.png", b"no picture", "no picture in a known format"),
    ]
    for name, content, answer in uploads:
        file = {"name": name, "mimeType": "image/png", "buffer": content}
        tab.locator("input[type=file]").first.set_input_files([file])
        tab.get_by_text(answer).first.wait_for()

    tab.get_by_role("tab", name="Neighbours").press("Enter")
    tab.locator("ol.near button:visible").nth(2).focus()
    row = int(tab.locator("ol.near button:visible").nth(2).get_attribute("data-row"))
    tab.keyboard.press("Enter")
    tab.get_by_text(f"Nearest to {world.name(row)}").wait_for()
    tab.get_by_role("tab", name="Map").press("Enter")
    tab.wait_for_selector("canvas")
    tab.locator("canvas").first.focus()
    tab.keyboard.press("ArrowRight")
    tab.wait_for_selector(".card img:visible")
    assert tab.locator(".card img").get_attribute("alt") in world.labels
    tab.get_by_role("tab", name="Levels").press("Enter")
    tab.wait_for_selector("table.levels")
    found = world.levels.set_index(["level", "model"]).accuracy[("coarse", "aligned")]
    assert f"{found:.3f}" in tab.locator("table.levels tbody tr").first.inner_text()

    assert tab.locator("img:not([alt])").count() == 0
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert set(called) <= {"127.0.0.1", "localhost", "::1", "local"}
    tab.context.close()


@pytest.mark.browser
def test_it_fits_a_phone(served, chromium):
    size = {"width": 360, "height": 740}
    tab, _ = opened(chromium, served[1], viewport=size, is_mobile=True, has_touch=True)
    tab.get_by_role("button", name="Models disagree").tap()
    tab.wait_for_selector("table.board tr.who")
    for name in ("Odd one out", "Neighbours", "Map", "Levels"):
        tab.get_by_role("tab", name=name).tap()
        tab.wait_for_selector({"Map": "canvas", "Levels": "table.levels", "Neighbours": "ol.near"}.get(name, "table"))
        assert tab.evaluate("document.documentElement.scrollWidth") == 360, name
    tab.context.close()


def test_the_server_gives_pictures_and_nothing_else(served):
    page, address, _ = served
    key = page.thumbnails.key
    with urllib.request.urlopen(f"{address}thumbnail/{key}/3.jpg") as answer:
        assert answer.headers["Content-Type"] == "image/jpeg" and answer.read() == page.thumbnails.jpeg(3)
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'self';") and "http" not in policy
    refused = [f"thumbnail/{key}/60.jpg", f"thumbnail/{key}/-1.jpg", "thumbnail/other/3.jpg", "map/9.json"]
    refused += [f"thumbnail/{key}/..%2f..%2fetc%2fpasswd", "docs", "openapi.json", "monitoring"]
    refused += [f"gradio_api/file={path}" for path in ("/etc/passwd", __file__, "pyproject.toml", "../../etc/passwd")]
    for path in refused:
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(f"{address}{path}")
        assert error.value.code in (403, 404), path
    with urllib.request.urlopen(f"{address}gradio_api/info") as answer:
        assert b'"named_endpoints":{}' in answer.read()


def test_a_port_in_use_is_one_line(served, world):
    port = int(served[1].rstrip("/").rpartition(":")[2])
    with pytest.raises(InputError, match=rf"port {port}: the port is in use .* another `port` or `host`"):
        serve(Page(world, served[0].thumbnails, lambda picture: {}, "x"), "127.0.0.1", port, False)


def test_nobody_can_ask_for_rows_that_are_not_there(served):
    page = served[0]
    for number in (-1, 60, 1.5, True, "3", None):
        event = type("Event", (), {"number": number})()
        with pytest.raises(page.gr.Error, match="from 0 to 59"):
            page._number(event)


def test_the_next_empty_place_is_filled():
    board = Board(marked=1)
    cat, dog, cow = (Placed("", name) for name in ("cat", "dog", "cow"))
    board = board.filled(cat).filled(dog)
    assert board.places == (None, cat, dog) and board.marked == 0
    board = board.filled(cow)
    assert board.places == (cow, cat, dog) and board.marked == 1


def test_the_map_tells_places_of_all_models(world):
    data = map_data(world, "components 1 and 2", "key")
    assert [model["name"] for model in data["models"]] == ["base", "aligned"]
    placed = world.places("components 1 and 2")["aligned"]
    np.testing.assert_allclose(np.array([data["models"][1][axis] for axis in "xy"]).T, placed, atol=1e-3)
    assert [data["labels"][i] for i in data["label"]] == world.labels
    assert data["groups"] == ["animal", "vehicle"] and len(data["colours"]) == 2


def test_labels_are_escaped_everywhere(world):
    rows = [0, 1, 3]
    table = world.odd_one_out(rows, {name: x[rows] for name, x in world.embeddings.items()})
    pieces = [
        markup.board([("a", world.name(row)) for row in rows], 0, table, "<script>"),
        markup.grid(world, rows, "key", 3, 0, 24),
        markup.neighbours(world, 0, world.neighbours(0), "key"),
        markup.levels(world.levels[world.levels.model == "base"].assign(model="<b>m</b>"), "<b>"),
    ]
    for piece in pieces:
        assert "<b>" not in piece and "<script>" not in piece and "&lt;b&gt;" in piece
