"""How fast the page of `hf-alignet explore` answers with 10,000 images of two models, in a headless Chromium.

One JSON line, the median of three visits, each with an empty cache: seconds until the browser's first contentful
paint, until the page can be used, until all small pictures in sight are there, until the map has drawn 10,000 dots
after a click on its tab, and from a click on a picture to its neighbours. The limit is a first paint within 2 seconds.

    OMP_NUM_THREADS=1 python benchmarks/explore.py

Needs the extra `app`, Playwright, and /usr/bin/chromium.
"""

import io
import json
import statistics
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from datasets import Dataset, Features, Value
from datasets import Image as ImageFeature
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from hf_alignet.explore import Exploration
from hf_alignet.explore.gradio_page import Page
from hf_alignet.explore.page_server import serve
from hf_alignet.explore.thumbnails import Thumbnails

NUMBER, WIDTH, EDGE, VISITS = 10_000, 768, 224, 3
MOST_SECONDS = 2.0
CHROMIUM = "/usr/bin/chromium"
IN_SIGHT = """() => [...document.querySelectorAll('.grid img')]
    .filter((image) => image.getBoundingClientRect().top < innerHeight && image.getBoundingClientRect().width)
    .every((image) => image.complete && image.naturalWidth)"""
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000"


def explored() -> Exploration:
    rng = np.random.default_rng(0)

    def cells() -> Iterator[dict[str, Any]]:
        for row in range(NUMBER):
            file = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (EDGE // 8, EDGE // 8, 3), dtype=np.uint8)).resize((EDGE, EDGE)).save(
                file, "JPEG"
            )
            yield {"image": {"bytes": file.getvalue(), "path": None}, "concept": f"thing {row % 500}"}

    features = Features({"image": ImageFeature(), "concept": Value("string")})
    images = Dataset.from_list(list(cells()), features=features)
    embeddings = {name: rng.standard_normal((NUMBER, WIDTH), np.float32) for name in ("base", "aligned")}
    return Exploration(images, embeddings)


def visit(browser: Browser, address: str) -> dict[str, float]:
    tab = browser.new_context(viewport={"width": 1200, "height": 900}).new_page()
    started = time.perf_counter()
    tab.goto(address)
    tab.wait_for_selector("table.board")
    usable = time.perf_counter() - started
    tab.wait_for_function(IN_SIGHT)
    pictures = time.perf_counter() - started
    paint = tab.evaluate(PAINT)
    started = time.perf_counter()
    tab.get_by_role("tab", name="Map").click()
    tab.wait_for_selector("canvas")
    tab.wait_for_function("document.querySelector('.legend i')")
    drawn = time.perf_counter() - started
    tab.get_by_role("tab", name="Neighbours").click()
    button = tab.locator(".grid button:visible").nth(5)
    button.wait_for()
    row = button.get_attribute("data-row")
    started = time.perf_counter()
    button.click()
    tab.get_by_text(f"(row {row})").first.wait_for()
    neighbours = time.perf_counter() - started
    tab.context.close()
    return {
        "first_paint_s": paint,
        "usable_s": usable,
        "pictures_s": pictures,
        "map_s": drawn,
        "neighbours_s": neighbours,
    }


def main() -> None:
    torch.set_num_threads(1)
    exploration = explored()
    started = time.perf_counter()
    page = Page(exploration, Thumbnails(exploration.images), lambda picture: {}, "What is similar?")
    address = serve(page, "127.0.0.1", None, share=False)
    server = time.perf_counter() - started
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        visits = [visit(browser, address) for _ in range(VISITS)]
        browser.close()
    page.blocks.close(verbose=False)
    found = {name: round(statistics.median(one[name] for one in visits), 3) for name in visits[0]}
    worst = max(one["first_paint_s"] for one in visits)
    result = {
        "benchmark": "explore/images_10000",
        "server_s": round(server, 3),
        **found,
        "worst_first_paint_s": round(worst, 3),
        "is_within": worst < MOST_SECONDS,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
