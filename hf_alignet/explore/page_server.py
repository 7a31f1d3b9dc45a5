"""Serves the page: small pictures and places on the map beside it, and nothing that leads out of this machine."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import numpy as np

from hf_alignet.analysis.hierarchy_figures import PALETTE
from hf_alignet.errors import InputError
from hf_alignet.explore.exploration import Exploration
from hf_alignet.explore.gradio_page import HERE, Page
from hf_alignet.explore.thumbnails import LARGEST_UPLOAD, Thumbnails

# Browsers load and send nothing elsewhere, whatever the page says. Gradio makes functions of text.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; form-action 'self'; object-src 'none'; "
    "base-uri 'self'"
)
HEADERS = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
DAY = "private, max-age=86400, immutable"
SHOWN = 0.995  # share of the pictures that the map shows at first, without the last outliers


def map_data(exploration: Exploration, axes: str, key: str) -> dict[str, Any]:
    """What the map draws: m rows, their labels and colours, and their places by each model."""
    rows, places = exploration.mapped, exploration.places(axes)
    groups, codes = exploration.colours
    labels, label = np.unique(np.array(exploration.labels, object)[rows].astype(str), return_inverse=True)
    furthest = max(float(np.quantile(np.abs(placed), SHOWN)) for placed in places.values())
    return {
        "axes": axes,
        "key": key,
        "rows": rows.tolist(),
        "labels": labels.tolist(),
        "label": label.tolist(),
        "groups": groups,
        "group": codes[rows].tolist(),
        "colours": list(PALETTE[: len(groups)]),
        "half": 1.1 * max(furthest, 1e-9),
        "models": [
            {"name": name, "x": np.round(placed[:, 0], 3).tolist(), "y": np.round(placed[:, 1], 3).tolist()}
            for name, placed in places.items()
        ],
    }


def routes(exploration: Exploration, thumbnails: Thumbnails) -> list[Any]:
    """`/thumbnail/KEY/ROW.jpg` and `/map/NUMBER.json`; other rows and numbers do not exist."""
    responses, routing = import_module("starlette.responses"), import_module("starlette.routing")

    def thumbnail(request: Any) -> Any:
        is_known = request.path_params["key"] == thumbnails.key
        content = thumbnails.jpeg(request.path_params["row"]) if is_known else None
        if content is None:
            return responses.Response(status_code=404)
        return responses.Response(content, media_type="image/jpeg", headers={"Cache-Control": DAY})

    def places(request: Any) -> Any:
        number = request.path_params["number"]
        if number >= len(exploration.axes):
            return responses.Response(status_code=404)
        return responses.JSONResponse(map_data(exploration, exploration.axes[number], thumbnails.key))

    return [
        routing.Route("/thumbnail/{key}/{row:int}.jpg", thumbnail),
        routing.Route("/map/{number:int}.json", places),
    ]


class Guard:
    """Adds headers to every response of an ASGI application.

    Args:
        app: the application.
    """

    def __init__(self, app: Callable[..., Any]):
        self.app = app

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        async def guarded(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                added = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *added]}
            await send(message)

        await self.app(scope, receive, guarded)


def serve(page: Page, host: str, port: int | None, share: bool) -> str:
    """Starts the page in the background, and gives its address.

    Args:
        page: what is served.
        host: address of this machine that is listened to.
        port: None takes the first free one from 7860 on.
        share: open a public address by way of Gradio's servers.

    Raises:
        InputError: the port is in use, or the host is none of this machine.
    """
    gr = page.gr
    middleware = import_module("starlette.middleware")
    try:
        _, local, public = page.blocks.launch(
            server_name=host,
            server_port=port,
            share=share,
            prevent_thread_lock=True,
            quiet=True,
            inline=False,
            inbrowser=False,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            max_file_size=LARGEST_UPLOAD,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
            css=(HERE / "page.css").read_text(encoding="utf-8"),
            app_kwargs={
                "routes": routes(page.exploration, page.thumbnails),
                "middleware": [middleware.Middleware(Guard)],
                "docs_url": None,
                "redoc_url": None,
                "openapi_url": None,
            },
        )
    except OSError as error:
        where = "" if port is None else f", port {port}"
        raise InputError(
            f"cannot serve the page at {host}{where}: the port is in use or not allowed, or the address is none of "
            "this machine; give another `port` or `host`"
        ) from error
    return public or local
