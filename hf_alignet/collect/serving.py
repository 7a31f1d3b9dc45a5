"""Serves a study on this machine."""

import logging
import socket
from pathlib import Path
from typing import Annotated

from hf_alignet.collect.optional_packages import web_module
from hf_alignet.collect.study_database import open_study
from hf_alignet.errors import InputError
from hf_alignet.ranges import Range, checked

LOCAL = ("127.0.0.1", "localhost", "::1")
NOT_ENCRYPTED = (
    "participants' answers travel without encryption. Let a web server with HTTPS, such as Caddy or nginx, pass "
    "requests on to 127.0.0.1:%d, and set `https`"
)

Port = Annotated[int, Range(1, 65535)]

logger = logging.getLogger(__name__)


@checked
def serve_study(study: str, host: str = "127.0.0.1", port: Port = 8000, https: bool = False) -> None:
    """Serves a study until it is interrupted. What is stored stays; the same command goes on.

    Args:
        study: folder of the study.
        host: network address of this machine to listen at. By default only this machine reaches the study; put a web
            server with HTTPS in front of it that passes requests on.
        port: to listen at.
        https: participants reach the study by HTTPS, through a web server in front of it: cookies are then sent by
            HTTPS only.

    Raises:
        InputError: there is no such study, or it was changed, or the port is in use.
    """
    folder = Path(study).expanduser()
    settings, connection = open_study(folder)
    connection.close()
    server = web_module("web_server")
    _check_port(host, port)
    if host not in LOCAL and not https:
        logger.warning(NOT_ENCRYPTED, port)
    name = f"[{host}]" if ":" in host else host
    logger.info("%s is at http://%s:%d/ for %d participants", folder, name, port, settings.plan.num_participants)
    server.run_server(folder, host, port, https)


def _check_port(host: str, port: int) -> None:
    """Raises an InputError if nothing can listen there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except OSError as error:
        raise InputError(f"cannot listen at {host}:{port} ({error.strerror or error}): give another `port`") from error
