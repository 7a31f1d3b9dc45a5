"""An odd-one-out study under load: many simulated participants at once, and a server that is killed: one JSON line.

Each participant answers the moment that the last answer was acknowledged, after a pause. When the server is gone it
tries again, as the page does. At the end every trial set must be complete, every triplet must have been judged exactly
so many times as planned, every acknowledged answer must be stored as it was, and none twice. The peer is the limit: an
answer within 200 ms at the 99th percentile.

    OMP_NUM_THREADS=1 python benchmarks/collect.py --participants 300 --trials 330 --kills 10
"""

import argparse
import asyncio
import contextlib
import json
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "collect"))
from small_study import MANY, ServedStudy, change_yaml  # noqa: E402

from hf_alignet.collect.study_making import init_study  # noqa: E402

LIMIT = 0.2  # seconds
TAB = "0" * 32


class Browser:
    """One connection to the server that is kept open, as a browser keeps it."""

    def __init__(self, port: int):
        self.port, self.cookie = port, ""
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, content: str, kind: str = "application/json") -> tuple[dict[str, str], bytes]:
        """Headers and body of the answer; tries again until there is one."""
        while True:
            try:
                return await self._once(path, content, kind)
            except (OSError, asyncio.IncompleteReadError, ValueError):
                self.streams = None
                await asyncio.sleep(0.2)

    async def _once(self, path: str, content: str, kind: str) -> tuple[dict[str, str], bytes]:
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.streams
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nContent-Type: {kind}\r\n"
        writer.write(f"{head}Cookie: {self.cookie}\r\nContent-Length: {len(content)}\r\n\r\n{content}".encode())
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        return headers, await reader.readexactly(int(headers.get("content-length", 0)))


async def take_part(port: int, pause: float, seed: int, seconds: list[float]) -> list[tuple[int, float]]:
    """A whole session; the answers that were acknowledged."""
    rng = np.random.default_rng(seed)
    await asyncio.sleep(float(rng.uniform(0, 2)))
    browser = Browser(port)
    headers, _ = await browser.post("/start", "consent=yes", "application/x-www-form-urlencoded")
    browser.cookie = headers["set-cookie"].partition(";")[0]
    told = json.loads((await browser.post("/api/open", json.dumps({"tab": TAB})))[1])
    given: list[tuple[int, float]] = []
    while len(given) < len(told["trials"]):
        await asyncio.sleep(float(rng.uniform(0, 2 * pause)))
        answer = (int(rng.integers(3)), round(float(rng.uniform(1, 5)), 4))
        content = json.dumps({"tab": TAB, "place": len(given), "odd": answer[0], "rt": answer[1]})
        began = time.perf_counter()
        body = json.loads((await browser.post("/api/answer", content))[1])
        seconds.append(time.perf_counter() - began)
        assert body == {"next": len(given) + 1}, body
        given.append(answer)
    return given


async def run(server: ServedStudy, participants: int, kills: int, pause: float, trials: int) -> dict[str, object]:
    seconds: list[float] = []
    down: list[float] = []
    began = time.perf_counter()
    people = [asyncio.create_task(take_part(server.port, pause, i, seconds)) for i in range(participants)]
    expected = 2 * pause * trials
    for _ in range(kills):
        await asyncio.sleep(expected / (2 * kills + 1))
        before = time.perf_counter()
        server.kill()
        await asyncio.to_thread(server.start)
        down.append(time.perf_counter() - before)
    given = await asyncio.gather(*people)
    stored = sqlite3.connect(server.study / "study.sqlite3")
    rows: dict[int, list[tuple[int, float]]] = {}
    for person, odd, rt in stored.execute("SELECT participant, odd, rt FROM answers ORDER BY participant, place"):
        rows.setdefault(person, []).append((odd, rt))
    judged = stored.execute(
        "SELECT COUNT(*) FROM answers JOIN participants ON participant = participants.number JOIN trials "
        "USING (trial_set, place) JOIN triplets ON triplet = triplets.number WHERE kind = 'trial' GROUP BY triplet"
    )
    counts = {count for (count,) in judged}
    lost = sorted(map(tuple, rows.values())) != sorted(map(tuple, given))
    return {
        "answers": len(seconds),
        "seconds": round(time.perf_counter() - began, 1),
        "answers_per_second": round(len(seconds) / (time.perf_counter() - began)),
        "median_ms": round(1000 * float(np.median(seconds)), 1),
        "p99_ms": round(1000 * float(np.quantile(seconds, 0.99)), 1),
        "limit_ms": 1000 * LIMIT,
        "kills": kills,
        "seconds_down": [round(value, 1) for value in down],
        "judgments_of_a_triplet": sorted(counts),
        "lost_or_changed": lost,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--participants", type=int, default=300)
    parser.add_argument("--trials", type=int, default=330)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--pause", type=float, default=0.75, help="mean seconds between answers")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pictures, study = Path(folder) / "pictures", Path(folder) / "study"
        pictures.mkdir()
        for row in range(80):
            Image.new("RGB", (16, 16), (3 * row, 100, 100)).save(pictures / f"{row}.png")
        plan = {"num_participants": flags.participants, "trials": flags.trials, "repeats": flags.repeats}
        init_study(str(study), str(pictures), catch_trials=0, practice_trials=0, progress=False, **plan)
        change_yaml(study, protocol=MANY)
        server = ServedStudy(study)
        server.start()
        try:
            found = asyncio.run(run(server, flags.participants, flags.kills, flags.pause, flags.trials))
        finally:
            with contextlib.suppress(OSError):
                server.kill()
    print(json.dumps({"benchmark": "collect", "participants": flags.participants, **found}), flush=True)


if __name__ == "__main__":
    main()
