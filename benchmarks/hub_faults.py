"""Runs the commands against a Hub that fails, and counts how each of them ends: one JSON line for each kind of fault.

A fault hits one of the requests of a command: a download of a model, of its weights, of a dataset, of a transform, of
a card or of a checkpoint; the creation of a repository, the list of its files, an upload, a commit. It lasts
(`always`), or is gone after two requests (`twice`). The Hub is the double of the tests, with shorter waits.

    OMP_NUM_THREADS=1 python benchmarks/hub_faults.py

Counts: `ended_clearly` (one line with the cause), `went_on` (tried again until it succeeded, or went on without it and
said so), `wrong_cause` (one line with another cause), `silent` (nobody was told), `traceback`, `hang`, `lost` (the
result is not on the disk), `missed` (the request was not made: a mistake of this script).
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from fakehub import FakeHub  # noqa: E402

DEADLINE = 60  # seconds, after which a command hangs
FASTER = 0.02  # of the waits between requests
PRELOADED = ["hf_alignet.cli.main", "hf_alignet.workflows.alignment_run", "hf_alignet.workflows.teacher_run"]
FAULTS: list[Any] = [401, 403, 404, 409, 429, 500, 503, None, "silence", "garbage"]
PASSING = [429, 500, 503, None]
ALWAYS = 1_000_000
NOT_THE_HUB = "not one of the Hub"  # also a 409 that does not name the repository that is there
CAUSES: dict[Any, str] = {None: "connection to the Hub is broken", "silence": "timed out", "garbage": NOT_THE_HUB}
CAUSES[409] = f"409|{NOT_THE_HUB}"


class Case(NamedTuple):
    """A command, the request of it that fails, and the file with the result that must never be lost."""

    command: str
    point: str
    requests: str  # `METHOD pattern`, or `(METHOD|METHOD) pattern`; several with ` or `
    result: str | None = None


QUIET = "--output_dir {out} --disable_tqdm"
EVALUATE = f"evaluate --images tester/pictures {QUIET} --benchmarks {{name}}=choices:tester/choices"
OF_VIT, OF_SHARED = (f"{EVALUATE} --model_name_or_path tester/{model}" for model in ("vit", "shared"))
UPDATE = f"{OF_SHARED} --update_card tester/shared"
TRIPLETS = f"make-triplets --num_triplets 20 --sampling random --batch_size 8 --teacher vit {QUIET}"
TEACH = f"fit-teacher --features features.npy --method hard --regularization 0.1 {QUIET}"
ALIGN = f"align --model_name_or_path vit --images pictures --max_steps 1 --per_device_train_batch_size 8 {QUIET} True"
PUSH = "--push_to_hub --hub_model_id tester/{name}"
TEACH_PUSH, ALIGN_PUSH = f"{TEACH} --judgments choices {PUSH}", f"{ALIGN} --triplets triplets {PUSH}"
CHECKPOINTS = f"{ALIGN_PUSH} --hub_strategy checkpoint --save_steps 1"
RESUME = f"{ALIGN} --triplets triplets --resume_from_checkpoint tester/resumable"
PUBLISH = "publish dataset triplets tester/{name} --output_dir {out}"
WEIGHTS, COPY = "model.safetensors", "datasets--tester--{name}/triplets.json"
CREATE, COMMIT = "POST /api/repos/create", "POST .*/commit/"
CASES = [
    Case(OF_VIT, "model", "(HEAD|GET) /tester/vit/resolve"),
    Case(OF_VIT, "weights", "(HEAD|GET) /tester/vit/resolve/.*safetensors"),
    Case(OF_VIT, "dataset", "GET /api/datasets/tester/pictures"),
    Case(OF_VIT, "shard", "(HEAD|GET) /datasets/tester/pictures/resolve/.*parquet"),
    Case(UPDATE, "card", "GET /api/models/tester/shared"),
    Case(UPDATE, "commit", COMMIT, "results.json"),
    Case(
        f"{TRIPLETS} --images pictures --transform tester/teacher", "transform", "(HEAD|GET) /tester/teacher/resolve"
    ),
    Case(f"{TEACH} --judgments tester/choices", "judgments", "(HEAD|GET) .*/tester/choices"),
    Case(TEACH_PUSH, "create", CREATE),
    Case(TEACH_PUSH, "commit", COMMIT, WEIGHTS),
    Case(
        f"{TRIPLETS} --images pictures --push_to_hub --hub_dataset_id tester/{{name}}",
        "upload",
        "PUT /_lfs or POST .*/preupload",
        "triplets.json",
    ),
    Case(f"{ALIGN} --triplets tester/triplets", "triplets", "(HEAD|GET) .*/tester/triplets"),
    Case(ALIGN_PUSH, "create", CREATE),
    Case(ALIGN_PUSH, "upload", "PUT /_lfs or POST .*/lfs/objects", WEIGHTS),
    Case(CHECKPOINTS, "any commit", COMMIT, WEIGHTS),
    Case(CHECKPOINTS, "list", "GET .*/tree/", WEIGHTS),
    Case(RESUME, "checkpoint", "GET /api/models/tester/resumable or (HEAD|GET) /tester/resumable/resolve"),
    Case(PUBLISH, "create", CREATE, COPY),
    Case(PUBLISH, "list", "GET .*/(tree|revision)", COPY),
    Case(PUBLISH, "commit", COMMIT, COPY),
]


def prepare(pipe: Connection) -> None:
    """Makes the inputs of the commands, here and on the Hub."""
    import numpy as np
    from datasets import Dataset
    from huggingface_hub import HfApi
    from PIL import Image
    from tiny import save_tiny

    from hf_alignet.encoder import AffineTransform
    from hf_alignet.judgments import make_judgments
    from hf_alignet.storage import write_dataset

    rng = np.random.default_rng(0)
    save_tiny("vit", Path("vit"))
    np.save("features.npy", rng.normal(size=(24, 8)).astype(np.float32))
    rows = np.stack([rng.permutation(24)[:3] for _ in range(60)])
    pictures = [Image.fromarray(p) for p in rng.integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)]
    write_dataset(Dataset.from_dict({"image": pictures}), Path("pictures/images"), "train", progress=False)
    for split, part in (("train", slice(0, 40)), ("test", slice(40, 60))):
        choices = make_judgments(rows[part], np.arange(60)[part] % 3)
        write_dataset(choices, Path("choices/judgments"), split, progress=False)
    AffineTransform.identity(32).save_pretrained("teacher")
    made = f"{TRIPLETS} --images pictures".format(out="triplets").split()
    assert run(made)[0] == 0
    api = HfApi()
    for folder in ("vit", "teacher", "pictures", "choices", "triplets"):
        kind = "model" if folder in ("vit", "teacher") else "dataset"
        api.create_repo(f"tester/{folder}", repo_type=kind)
        api.upload_folder(repo_id=f"tester/{folder}", folder_path=folder, repo_type=kind)
    for name, command in {"shared": ALIGN_PUSH, "resumable": CHECKPOINTS}.items():
        assert run(command.format(out=f"made/{name}", name=name).split())[0] == 0
    pipe.send("done")


def run(words: list[str]) -> tuple[int, str]:
    """The status and the words of a command; 3 for a traceback."""
    from hf_alignet.cli.main import main

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main(words)
            status = 0
        except SystemExit as end:
            status = int(str(end.code))
        except BaseException as error:
            said.write(f"{type(error).__name__}: {error}")
            status = 3
    return status, said.getvalue()


def attempt(pipe: Connection, words: list[str]) -> None:
    """In a process of its own: a command, with short waits."""
    import huggingface_hub.file_download

    sleep = time.sleep
    time.sleep = lambda seconds: sleep(float(seconds) * FASTER)
    huggingface_hub.file_download._ETAG_RETRY_TIMEOUT = 1
    pipe.send(run(words))


def judge(case: Case, fault: Any, status: int | None, said: str, has_result: bool) -> str:
    if status is None:
        return "hang"
    if status == 3:
        return "traceback"
    if case.result is not None and not has_result:
        return "lost"
    if status == 0:
        return "went_on" if re.search("Retry|again|is not shared|not shared|cannot|without", said) else "silent"
    last = said.strip().splitlines()[-1]
    cause = CAUSES.get(fault, str(fault))
    is_missing = fault in (401, 404) and re.search("does not exist|log in|no such|does not appear to have", last)
    return "ended_clearly" if last.startswith("error") and (re.search(cause, last) or is_missing) else "wrong_cause"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="a pattern of `command point fault`, such as 'evaluate .* 403'")
    parser.add_argument("--show", action="store_true", help="print how each case ended")
    flags = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="hub_faults_"))
    os.chdir(place)
    with FakeHub() as hub:
        os.environ |= hub.env(place / "cache") | {"HF_HUB_DOWNLOAD_TIMEOUT": "1", "HF_HUB_ETAG_TIMEOUT": "1"}
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)

        def in_process(target: Any, *arguments: Any, deadline: float = DEADLINE) -> Any:
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=target, args=(sender, *arguments), daemon=False)
            process.start()
            sender.close()
            try:
                return receiver.recv() if receiver.poll(deadline) else None
            except EOFError:
                return 3, "the process died"
            finally:
                process.kill()
                process.join()

        start = time.perf_counter()
        assert in_process(prepare, deadline=600) == "done"
        counts: dict[str, Counter[str]] = {}
        for number, (case, fault, times) in enumerate(
            (case, fault, times)
            for times, faults in ((ALWAYS, FAULTS), (2, PASSING))
            for fault in faults
            for case in CASES
        ):
            kind = f"{'dropped' if fault is None else fault}, {'always' if times == ALWAYS else 'twice'}"
            title = f"{case.command.split()[0]} {case.point} {kind}"
            if flags.only and not re.search(flags.only, title):
                continue
            name = f"n{number}"
            shutil.rmtree(place / "cache", ignore_errors=True)
            faults = [hub.fail_next(method, path, fault, times) for method, path in requests(case)]
            words = case.command.format(out=f"out/{name}", name=name).split()
            status, said = in_process(attempt, words) or (None, "")
            hub.stop_failing()
            result = case.result.format(name=name) if case.result else None
            end = judge(case, fault, status, said, result is not None and (place / "out" / name / result).exists())
            if all(fault.remaining == times for fault in faults):
                end = "missed"
            counts.setdefault(kind, Counter())[end] += 1
            if flags.show:
                print(f"{end:<14} {title}: {' '.join(said.strip().splitlines()[-1:])[:400]}", flush=True)
        for kind, counted in counts.items():
            print(json.dumps({"benchmark": "hub_faults", "fault": kind, **counted}))
        seconds = round(time.perf_counter() - start)
        every = sum(counts.values(), Counter())
        print(json.dumps({"benchmark": "hub_faults", "fault": "all", **every, "seconds": seconds}))
    shutil.rmtree(place, ignore_errors=True)


def requests(case: Case) -> list[tuple[str, str]]:
    """The methods and the patterns of paths that a fault hits."""
    found = []
    for part in case.requests.split(" or "):
        methods, path = part.split(" ", 1)
        found += [(method, path) for method in methods.strip("()").split("|")]
    return found


if __name__ == "__main__":
    main()
