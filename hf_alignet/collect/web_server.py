"""The server of a study: pages, pictures by number, and two requests that the pages make.

| request | does |
| --- | --- |
| `GET /` | consent; who has a session goes on with it |
| `POST /start` | a new participant: a trial set, and a token in a cookie |
| `GET /session` | the page of the trials |
| `POST /api/open` | gives the session to a tab, and tells it where the session is |
| `POST /api/answer` | stores an answer, and acknowledges it after the commit |
| `GET /pictures/17` | one of the pictures of the study |
| `GET /done` | the end, with the completion code |

A session is the cookie `participant`, which no script reads, and no other site can send along with a form.
"""

import asyncio
import contextlib
import logging
import math
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hf_alignet.collect.group_commits import GroupCommits
from hf_alignet.collect.pages import ASSETS, POLICY, WEB, Pages
from hf_alignet.collect.rate_limit import RateLimit
from hf_alignet.collect.sessions import (
    FINISHED,
    FULL,
    PLATFORM,
    REPLACED,
    TOOK_PART,
    UNKNOWN,
    Participant,
    Refused,
    find_participant,
    open_tab,
    start_session,
    store_answer,
    trials_of,
)
from hf_alignet.collect.study_database import open_study, picture_file, study_id
from hf_alignet.text_files import parse_json

COOKIE = "participant"
MOST_BYTES = 16_384  # of what a request sends
IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,64}")
TAB = re.compile(r"[0-9a-f]{32}")
LATE = 1.0  # seconds by which a browser may be late with a time-out
COOKIE_DAYS = 30
PICTURES_PER_ANSWER = 12  # requests for pictures are that much more frequent than answers
SENTENCES = {
    FULL: "All places of this study are taken at the moment. Thank you for your interest: please come again later.",
    TOOK_PART: "You have already taken part in this study, or began it in another way. Thank you!",
    REPLACED: "You were away for long, so that your place went to another participant. Thank you for what you did!",
}
HEADERS = {
    "Content-Security-Policy": POLICY.format(more="", frames="; frame-ancestors 'none'"),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",  # with it, the clock of the page is exact to 5 microseconds
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
HTTPS_ONLY = "max-age=31536000"

logger = logging.getLogger(__name__)


class StudyServer:
    """The answers to requests about one study.

    Args:
        folder: of the study.
        is_https: whether participants reach it by HTTPS; cookies are then sent by nothing else.
        clock: seconds since 1970.
    """

    def __init__(self, folder: Path, is_https: bool = False, clock: Callable[[], float] = time.time):
        self.folder, self.is_https, self.clock = folder, is_https, clock
        self.settings, connection = open_study(folder)
        self.name = study_id(connection)
        self.pages = Pages(self.settings.texts)
        self.commits = GroupCommits(connection)
        self.trials = [trials_of(connection, number) for number in range(self.settings.plan.num_participants)]
        self.pictures = {number for trials in self.trials for trial in trials for number in trial["pictures"]}
        protocol = self.settings.protocol
        self.starts = RateLimit(protocol.starts_per_minute)
        self.requests = RateLimit(protocol.answers_per_minute)
        self.downloads = RateLimit(PICTURES_PER_ANSWER * protocol.answers_per_minute)
        self.strangers = RateLimit(protocol.starts_per_minute)

    def app(self) -> Starlette:
        """The application, for any ASGI server with one process."""
        routes = [
            Route("/", self.consent),
            Route("/start", self.start, methods=["POST"]),
            Route("/session", self.session),
            Route("/done", self.done),
            Route("/api/open", self.open, methods=["POST"]),
            Route("/api/answer", self.answer, methods=["POST"]),
            Route("/pictures/{number:int}", self.picture),
            *(Route(f"/{name}", partial(_asset, name)) for name in ASSETS),
        ]
        handlers: dict[Any, Callable[[Request, Exception], Awaitable[Response]]] = {HTTPException: self._failed}
        app = Starlette(routes=routes, lifespan=self._lifespan, exception_handlers=handlers)
        app.add_middleware(_Headers, is_https=self.is_https)
        return app

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        worker = asyncio.create_task(self.commits.work())
        yield
        worker.cancel()
        self.commits.connection.close()

    async def _failed(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if request.url.path.startswith("/api/"):
            return JSONResponse({"error": error.detail}, error.status_code, error.headers)
        return HTMLResponse(self.pages.message(error.detail), error.status_code, error.headers)

    # ---- pages

    async def consent(self, request: Request) -> Response:
        with contextlib.suppress(Refused):
            await self._participant(request)
            return RedirectResponse("session", 303)
        return HTMLResponse(self.pages.consent(_identifiers(request.query_params)))

    async def start(self, request: Request) -> Response:
        _check_origin(request)
        if not self.starts.allows(_address(request)):
            raise HTTPException(429, "There are many new participants just now: please try again in a minute.")
        given = {
            name: values[-1] for name, values in parse_qs((await _body(request)).decode("utf-8", "replace")).items()
        }
        if given.get("consent") != "yes":
            raise HTTPException(400, "Please go back, and agree to take part if you want to.")
        asked = [question["name"] for question in self.settings.texts.demographics or ()]
        about = {name: given[f"about_{name}"].strip()[:200] for name in asked if given.get(f"about_{name}")}
        now, patience = self.clock(), 60 * self.settings.protocol.hand_out_again_after
        step = partial(
            start_session,
            identifiers=_identifiers(given),
            demographics=about,
            now=now,
            abandoned_before=now - patience,
        )
        try:
            token = await self.commits.do(step)
        except Refused as refused:
            return HTMLResponse(self.pages.message(SENTENCES[str(refused)]), 403)
        response = RedirectResponse("session", 303)
        response.set_cookie(
            COOKIE, token, max_age=86400 * COOKIE_DAYS, httponly=True, samesite="lax", secure=self.is_https
        )
        return response

    async def session(self, request: Request) -> Response:
        try:
            found = await self._participant(request)
        except Refused:
            return RedirectResponse(".", 303)
        if found.state in (FINISHED, REPLACED):
            return RedirectResponse("done", 303)
        return HTMLResponse(self.pages.session())

    async def done(self, request: Request) -> Response:
        try:
            found = await self._participant(request)
        except Refused:
            return RedirectResponse(".", 303)
        if found.state == FINISHED:
            return HTMLResponse(self.pages.done())
        if found.state == REPLACED:
            return HTMLResponse(self.pages.message(SENTENCES[REPLACED]), 403)
        return RedirectResponse("session", 303)

    # ---- what the page of the trials asks for

    async def open(self, request: Request) -> Response:
        content, token = await self._request(request)
        try:
            found = await self.commits.do(partial(open_tab, token=token, tab=_tab(content), now=self.clock()))
        except Refused as refused:
            return JSONResponse({"refused": str(refused)}, 403)
        if found.state in (FINISHED, REPLACED):
            return JSONResponse({"refused": found.state}, 409)
        protocol = self.settings.protocol
        told = {
            "session": f"{self.name}-{found.number}",
            "next": found.next,
            "practice": self.settings.plan.practice_trials,
            "trials": self.trials[found.trial_set],
            "protocol": {
                **{name: getattr(protocol, name) for name in ("fixation", "earliest", "latest", "feedback")},
                "pauses_after": list(protocol.pauses_after),
            },
        }
        return JSONResponse(told)

    async def answer(self, request: Request) -> Response:
        content, token = await self._request(request)
        place, odd, rt = _checked_answer(content, self.settings.protocol.latest)
        step = partial(
            store_answer,
            token=token,
            tab=_tab(content),
            place=place,
            odd=odd,
            rt=rt,
            num_places=self.settings.plan.places,
            now=self.clock(),
        )
        try:
            return JSONResponse({"next": await self.commits.do(step)})
        except Refused as refused:
            return JSONResponse({"refused": str(refused)}, 403 if str(refused) == UNKNOWN else 409)

    async def picture(self, request: Request) -> Response:
        try:
            found = await self._participant(request)
        except Refused as refused:
            raise HTTPException(403, "Pictures are shown to participants only.") from refused
        if not self.downloads.allows(str(found.number)):
            raise HTTPException(429, "Too many requests.")
        number = request.path_params["number"]
        if number not in self.pictures:
            raise HTTPException(404, "There is no such picture.")
        kept = {"Cache-Control": "private, max-age=86400, immutable"}
        return FileResponse(picture_file(self.folder, number), media_type="image/webp", headers=kept)

    # ---- who asks

    async def _participant(self, request: Request) -> Participant:
        token = request.cookies.get(COOKIE)
        if token is None:
            raise Refused(UNKNOWN)
        try:
            return await self.commits.do(partial(find_participant, token=token))
        except Refused:
            if not self.strangers.allows(_address(request)):
                raise HTTPException(429, "Too many requests.") from None
            raise

    async def _request(self, request: Request) -> tuple[dict[str, Any], str]:
        """The JSON object of a request, and the token."""
        _check_origin(request)
        token = request.cookies.get(COOKIE, "")
        if not self.requests.allows(token or _address(request)):
            raise HTTPException(429, "Too many requests.")
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise HTTPException(415, "The content must be JSON.")
        try:
            content = parse_json((await _body(request)).decode())
        except ValueError as error:
            raise HTTPException(400, "The content is no JSON.") from error
        if not isinstance(content, dict):
            raise HTTPException(400, "The content must be an object.")
        if not token:
            raise HTTPException(403, "There is no session.")
        return content, token


def _asset(name: str, request: Request) -> Response:
    return FileResponse(WEB / name, media_type=ASSETS[name], headers={"Cache-Control": "no-cache"})


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else "unknown"


def _identifiers(given: Any) -> dict[str, str]:
    """Those of the platform that look like such."""
    found = {name: str(given[name]) for name in PLATFORM if name in given}
    return {name: value for name, value in found.items() if IDENTIFIER.fullmatch(value)}


def _check_origin(request: Request) -> None:
    """Refuses what a page of another site sends. A browser always tells the origin of a POST."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise HTTPException(403, "This request comes from another site.")
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise HTTPException(403, "This request comes from another site.")


async def _body(request: Request) -> bytes:
    """What a request sends; refused before more than `MOST_BYTES` are read."""
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > MOST_BYTES:
            raise HTTPException(413, "The content is too large.")
    return content


def _tab(content: dict[str, Any]) -> str:
    tab = content.get("tab")
    if not isinstance(tab, str) or not TAB.fullmatch(tab):
        raise HTTPException(400, "`tab` must be 32 hexadecimal digits.")
    return tab


def _checked_answer(content: dict[str, Any], latest: float) -> tuple[int, int | None, float | None]:
    place, odd, rt = content.get("place"), content.get("odd"), content.get("rt")
    if type(place) is not int or not 0 <= place < 1_000_000:
        raise HTTPException(400, "`place` must be the number of a trial.")
    if odd is None and rt is None:
        return place, None, None
    if type(odd) is not int or odd not in (0, 1, 2):
        raise HTTPException(400, "`odd` must be 0, 1 or 2.")
    if isinstance(rt, bool) or not isinstance(rt, int | float) or not math.isfinite(rt) or not 0 < rt <= latest + LATE:
        raise HTTPException(400, "`rt` must be a time in seconds.")
    return place, odd, float(rt)


class _Headers:
    """Adds the headers of security to every answer."""

    def __init__(self, app: ASGIApp, is_https: bool):
        self.app = app
        self.added = HEADERS | ({"Strict-Transport-Security": HTTPS_ONLY} if is_https else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self.added.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self.app(scope, receive, send_with_headers)


def run_server(folder: Path, host: str, port: int, is_https: bool) -> None:
    """Serves a study until it is interrupted."""
    server = StudyServer(folder, is_https)
    uvicorn.run(
        server.app(),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,  # it would hold addresses and platforms' identifiers
        server_header=False,
        workers=1,
    )
