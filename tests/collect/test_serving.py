"""The server over HTTP: whole sessions, answers sent twice, tabs, people who drop out, and what attackers try."""

import sqlite3

import httpx
import numpy as np
import pytest
from small_study import ServedStudy, change_yaml, make_study
from starlette.testclient import TestClient

from hf_alignet.collect.collected_answers import export_study, study_status
from hf_alignet.collect.group_commits import GroupCommits
from hf_alignet.collect.serving import serve_study
from hf_alignet.collect.web_server import MOST_BYTES, StudyServer
from hf_alignet.errors import InputError
from hf_alignet.judgments import load_judgments

TAB, OTHER_TAB = "0" * 32, "1" * 32
PERSON = {"PROLIFIC_PID": "person1", "STUDY_ID": "study1", "SESSION_ID": "session1"}


class Clock:
    def __init__(self):
        self.now = 1e9

    def __call__(self):
        return self.now


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A study that the tests copy."""
    return make_study(tmp_path_factory.mktemp("planned"), {"hand_out_again_after": 10})


@pytest.fixture
def study(planned, tmp_path):
    import shutil

    return shutil.copytree(planned, tmp_path / "study")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def client(study, clock):
    with TestClient(StudyServer(study, clock=clock).app()) as client:
        yield client


def begin(client, **fields):
    """A new participant in this client; returns what the page is told."""
    client.cookies.clear()
    answer = client.post("/start", data={"consent": "yes", **fields}, follow_redirects=False)
    assert answer.status_code == 303
    return client.post("/api/open", json={"tab": TAB}).json()


def answer(client, place, odd=0, rt=0.5, tab=TAB):
    return client.post("/api/answer", json={"tab": tab, "place": place, "odd": odd, "rt": rt})


def rows(study, query):
    connection = sqlite3.connect(study / "study.sqlite3")
    found = connection.execute(query).fetchall()
    connection.close()
    return found


def test_whole_session_becomes_judgments(client, study, tmp_path):
    """The order on the screen is not that of the triplet; the export tells what was chosen."""
    told = begin(client, **PERSON, about_age="33 <b>")
    rng = np.random.default_rng(0)
    chosen = []
    for place, trial in enumerate(told["trials"]):
        odd = trial.get("right", int(rng.integers(3)))
        chosen.append(trial["pictures"][odd])
        assert answer(client, place, odd, rt=0.5 + place / 10).json() == {"next": place + 1}
    assert "Thank you" in client.get("/done").text
    export_study(str(study), str(tmp_path / "out"), min_catch_accuracy=0, identifiers=True)
    judgments = load_judgments(str(tmp_path / "out"))["train"]
    assert [row["triplet"][row["odd"]] for row in judgments] == chosen[1:]
    assert np.allclose(judgments["rt"], 0.6 + np.arange(8) / 10) and sum(judgments["is_catch"]) == 2
    assert {row["level"] for row in judgments if not row["is_catch"]} == {"coarse", "fine", "boundary"}
    assert "33 <b>" in (tmp_path / "out" / "participants.csv").read_text()
    assert "person1" not in (tmp_path / "out" / "participants.csv").read_text()
    assert "person1" in (tmp_path / "out" / "identifiers.csv").read_text()
    assert "1 finished" in study_status(str(study))


def test_published_exclusions_are_counted_one_by_one(client, study, tmp_path):
    for person in range(3):
        told = begin(client)
        kinds = [kind for (kind,) in rows(study, "SELECT kind FROM trials JOIN triplets ON triplet = number "
                                          f"WHERE trial_set = {person} ORDER BY place")]  # fmt: skip
        right = [shown.index(str(odd)) if odd is not None else 0 for shown, odd in rows(
            study, "SELECT shown, odd FROM trials JOIN triplets ON triplet = number "
            f"WHERE trial_set = {person} ORDER BY place")]  # fmt: skip
        for place in range(len(told["trials"])):
            odd = right[place] if person != 1 or kinds[place] != "catch" else (right[place] + 1) % 3
            is_missed = person == 2 and place == len(kinds) - 1
            is_slow = person == 0 and kinds[place] == "trial" and "trial" not in kinds[:place]
            content = (None, None) if is_missed else (odd, 2.9 if is_slow else 0.5)
            assert answer(client, place, *content).status_code == 200
    told = begin(client)
    answer(client, 0)
    answer(client, 1)
    counts = export_study(str(study), str(tmp_path / "out"), slowest=2.5)
    expected = {"participants": 3, "trials": 24, "careless": 1, "absent": 0, "their_trials": 8, "slow": 1}
    expected |= {"unfinished": 1, "unfinished_trials": 1}
    assert {name: counts[name] for name in expected} == expected
    assert counts["kept"] == 24 - 8 - counts["slow"] - counts["missed"] and counts["missed"] == 1


def test_an_answer_sent_twice_counts_once(client, study):
    begin(client)
    assert answer(client, 0, 1).json() == {"next": 1}
    assert answer(client, 0, 2).json() == {"next": 1}
    assert answer(client, 2).json() == {"refused": "out_of_order"}
    assert rows(study, "SELECT place, odd FROM answers") == [(0, 1)]


def test_coming_back_goes_on_at_the_same_trial(client):
    begin(client)
    answer(client, 0)
    assert client.get("/", follow_redirects=False).headers["location"] == "session"
    assert client.post("/api/open", json={"tab": OTHER_TAB}).json()["next"] == 1
    assert answer(client, 1).json() == {"refused": "taken_over"}
    assert answer(client, 1, tab=OTHER_TAB).json() == {"next": 2}


def test_platform_sends_a_person_again(client, study):
    begin(client, **PERSON)
    answer(client, 0)
    assert begin(client, **PERSON)["next"] == 1  # another browser
    client.cookies.clear()
    stranger = client.post(
        "/start", data={"consent": "yes", **PERSON, "SESSION_ID": "guessed"}, follow_redirects=False
    )
    assert stranger.status_code == 403 and "already taken part" in stranger.text
    assert rows(study, "SELECT COUNT(*) FROM participants") == [(1,)]


def test_sets_of_people_who_drop_out_are_handed_out_again(client, study, clock):
    begin(client)
    answer(client, 0)
    first = client.cookies["participant"]
    for _ in range(3):
        begin(client)
        clock.now += 1
    client.cookies.clear()
    assert client.post("/start", data={"consent": "yes"}).status_code == 403  # all are in work
    clock.now += 598  # the first one has not answered for ten minutes, the others for less
    assert begin(client)["next"] == 0
    assert rows(study, "SELECT state, trial_set FROM participants") == [
        *(("replaced", 0), ("running", 1), ("running", 2), ("running", 3), ("running", 0)),
    ]
    client.cookies.clear()
    client.cookies.set("participant", first)
    assert answer(client, 1).json() == {"refused": "replaced"}
    assert "another participant" in client.get("/done").text


def test_what_an_answer_raises_undoes_only_itself(study):
    import asyncio

    async def steps():
        commits = GroupCommits(sqlite3.connect(study / "study.sqlite3", isolation_level=None, check_same_thread=False))
        worker = asyncio.create_task(commits.work())

        def good(connection):
            connection.execute("INSERT INTO facts VALUES ('a', 'b')")

        def bad(connection):
            connection.execute("INSERT INTO facts VALUES ('c', 'd')")
            raise ValueError("bad")

        results = await asyncio.gather(commits.do(good), commits.do(bad), return_exceptions=True)
        worker.cancel()
        return results

    results = asyncio.run(steps())
    assert results[0] is None and isinstance(results[1], ValueError)
    assert rows(study, "SELECT name FROM facts WHERE name IN ('a', 'c')") == [("a",)]


# ---- what attackers try


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/pictures/../study.sqlite3",
            "/pictures/..%2fstudy.sqlite3",
            "/pictures/%2e%2e/study.yaml",
            "/study.sqlite3",
        ),
        *("/pictures/-1", "/pictures/99999", "/pictures/0.webp", "//etc/passwd", "/web/app.js", "/pictures/1%00"),
    ],
)
def test_no_path_outside_the_planned_pictures_is_served(client, path):
    begin(client)
    answered = client.get(path)
    assert answered.status_code in (404, 405) and b"SQLite" not in answered.content


def test_pictures_are_for_participants(client, study):
    number = begin(client)["trials"][0]["pictures"][0]
    assert client.get(f"/pictures/{number}").status_code == 200
    client.cookies.clear()
    assert client.get(f"/pictures/{number}").status_code == 403


@pytest.mark.parametrize(
    "content",
    [
        *({"odd": 3}, {"odd": -1}, {"odd": True}, {"odd": "1"}, {"rt": -1}, {"rt": 1e9}, {"rt": "0"}, {"rt": None}),
        *({"place": -1}, {"place": 1.5}, {"place": True}, {"tab": "x"}, {"tab": 5}, {"place": 10**30}),
    ],
)
def test_answers_that_cannot_be_are_refused(client, study, content):
    begin(client)
    sent = {"tab": TAB, "place": 0, "odd": 1, "rt": 0.5, **content}
    assert client.post("/api/answer", json=sent).status_code == 400
    assert rows(study, "SELECT COUNT(*) FROM answers") == [(0,)]


def test_bodies_that_are_no_object_are_refused(client):
    begin(client)
    send = {"headers": {"Content-Type": "application/json"}}
    for body in (b"", b"[]", b"{", b"NaN", b"\xff", b"[" * 5000, b'{"a": 1, "a": 2}'):
        assert client.post("/api/answer", content=body, **send).status_code == 400
    assert client.post("/api/answer", content=b" " * (MOST_BYTES + 1), **send).status_code == 413
    form = {"Content-Type": "text/plain"}  # what a form of another site can send
    assert client.post("/api/answer", content=b"{}", headers=form).status_code == 415
    assert client.get("/api/answer").status_code == 405
    assert client.put("/start").status_code == 405


def test_guessed_tokens_open_nothing_and_are_limited(study):
    change_yaml(study, protocol={"starts_per_minute": 5})
    with TestClient(StudyServer(study).app()) as client:
        client.cookies.set("participant", "guess' OR '1'='1")
        codes = [client.get("/pictures/0").status_code for _ in range(8)]
        assert codes[:5] == [403] * 5 and codes[-1] == 429
        assert client.post("/api/open", json={"tab": TAB}).status_code == 403
        client.cookies.clear()
        starts = [client.post("/start", data={"consent": "no"}).status_code for _ in range(7)]
        assert starts[:5] == [400] * 5 and starts[-1] == 429


def test_other_sites_cannot_act_for_a_participant(client, study):
    begin(client)
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        answered = client.post("/api/answer", json={"tab": TAB, "place": 0, "odd": 1, "rt": 1}, headers=headers)
        assert answered.status_code == 403
        assert client.post("/start", data={"consent": "yes"}, headers=headers).status_code == 403
    assert rows(study, "SELECT COUNT(*) FROM answers") == [(0,)]


def test_what_others_write_is_text(study):
    change_yaml(
        study,
        texts={
            "title": "<script>alert(1)</script>",
            "consent": "<img src=x onerror=alert(1)> [a](javascript:alert(1)) **bold**",
            "demographics": [{"name": "a", "label": '"><script>', "choices": ["<b>"]}],
        },
    )
    with TestClient(StudyServer(study).app()) as client:
        page = client.get('/?PROLIFIC_PID="><script>alert(1)</script>&STUDY_ID=good').text
    assert "<script>" not in page and "<img" not in page and 'href="javascript' not in page and "<b>" not in page
    assert "<strong>bold</strong>" in page and 'value="good"' in page and "PROLIFIC_PID" not in page


def test_every_answer_has_the_headers_of_security(client):
    for path in ("/", "/app.js", "/nothing", "/api/answer", "/pictures/0"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
    assert "server" not in client.get("/").headers


def test_cookie_is_hidden_from_scripts_and_other_sites(study):
    with TestClient(StudyServer(study, is_https=True).app(), base_url="https://testserver") as client:
        answered = client.post("/start", data={"consent": "yes"}, follow_redirects=False)
    cookie = answered.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie and "secure" in cookie
    assert "strict-transport-security" in answered.headers


def test_database_has_no_token_and_the_page_no_answers(client, study):
    told = begin(client)
    token = client.cookies["participant"]
    assert len(token) >= 43
    assert token.encode() not in b"".join(file.read_bytes() for file in study.iterdir() if file.is_file())
    assert sum("right" in trial for trial in told["trials"]) == 1  # of practice; catch trials look like others


# ---- a server that is killed


def test_kills_lose_nothing_that_was_acknowledged(study):
    server = ServedStudy(study)
    acknowledged = 0
    server.start()
    with httpx.Client(base_url=server.url) as client:
        client.post("/start", data={"consent": "yes"})
        token = client.cookies["participant"]
    for _ in range(2):
        with httpx.Client(base_url=server.url, cookies={"participant": token}) as client:
            told = client.post("/api/open", json={"tab": TAB}).json()
            assert told["next"] >= acknowledged
            for place in range(told["next"], told["next"] + 3):
                acknowledged = answer(client, place).json()["next"]
        server.kill()
        server.start()
    server.kill()
    assert rows(study, "SELECT COUNT(*) FROM answers") == [(acknowledged,)] == [(6,)]


def test_port_in_use_is_one_line(study):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match="cannot listen at 127.0.0.1:.*another `port`"):
            serve_study(str(study), port=taken.getsockname()[1])
