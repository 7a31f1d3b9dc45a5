"""A study as a folder for any web host, without a server: participants download their answers, or post them."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

from hf_alignet.collect.optional_packages import web_module
from hf_alignet.collect.sessions import PLATFORM, trials_of
from hf_alignet.collect.study_database import PICTURES, open_study, picture_file, study_id
from hf_alignet.collect.study_settings import WEB_ADDRESS
from hf_alignet.errors import InputError
from hf_alignet.storage import whole_directory, write_text

MAKER = "collect static"


def build_static(study: str, output_dir: str, post_to: str | None = None) -> None:
    """Writes a study as a folder of static files.

    Each participant draws a trial set at random, so the numbers of judgments a triplet are not exactly equal; the
    address `?set=7` asks for one. The completion code is in the page, where a curious participant can find it.

    Args:
        study: folder of the study.
        output_dir: folder for the site.
        post_to: address that gets each participant's answers by POST, as JSON; it must allow this (CORS). By default
            participants download a file, which they send you.

    Raises:
        InputError: there is no study, or the address is none.
    """
    if post_to is not None and not WEB_ADDRESS.fullmatch(post_to):
        raise InputError(f"`post_to` must be an address that begins with https://, got {post_to!r}")
    pages = web_module("pages")
    folder = Path(study).expanduser()
    settings, connection = open_study(folder)
    with whole_directory(output_dir, MAKER) as made:
        (made / PICTURES).mkdir()
        numbers = set()
        for number in range(settings.plan.num_participants):
            trials = trials_of(connection, number)
            numbers |= {picture for trial in trials for picture in trial["pictures"]}
            write_text(made / "sets" / f"{number}.json", json.dumps(trials))
        for number in sorted(numbers):
            shutil.copyfile(picture_file(folder, number), picture_file(made, number))
        told = {
            "study": study_id(connection),
            "num_sets": settings.plan.num_participants,
            "practice": settings.plan.practice_trials,
            "platform": list(PLATFORM),
            "protocol": asdict(settings.protocol),
        }
        write_text(made / "study.json", json.dumps(told, indent=1))
        for name in pages.ASSETS:
            shutil.copyfile(pages.WEB / name, made / name)
        write_text(made / "index.html", pages.Pages(settings.texts).static(post_to or ""))
    connection.close()
