"""What each long command does on a full disk, in a folder that it cannot write or that is not its own, and beside
another run: one JSON line for each kind of fault and command, with the number of times it ended in some way.

- `ok`: it ended well, with the bytes of a run without faults.
- `clear`: it ended with one line that says why; where it can go on, the same command then ended well.
- `traceback`, `SIGBUS` and other signals, `unclear` (no line), `hang`: what should not be.
- `lost`: what it should not touch was changed, or the same command did not go on when the fault was over.
- `silent wrong`: it ended well with other bytes.

    OMP_NUM_THREADS=1 python benchmarks/faults.py --sizes 6 --commands align
"""

import argparse
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from small_runs import COMMANDS, Run, command, differences, prepared, small_disk, start

SECONDS = 120  # a run that takes longer hangs
# Of a user: what commands write or delete under these names
FOREIGN = (
    *("model.safetensors", "README.md", "results.json", "embeddings.npy", "alignment.json", "before_after.png"),
    *("unfinished/notes.txt", "images/cat.png", "triplets/mine.parquet", "card/README.md", ".unfinished/notes.txt"),
    *("datasets--u--x/mine.csv", ".datasets--u--x.unfinished/mine.csv", "embeddings/model0/mine.npy", "vice/mine.txt"),
)


def wait(run: Run) -> str:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if run.is_over():
            return run.end()
        time.sleep(0.02)
    run.kill()
    run.end()
    return "hang"


class Faults:
    """The faults of one command, each of which yields how a run ended."""

    def __init__(self, name: str, study: Path, folder: Path, sizes: int):
        self.name, self.study, self.folder, self.sizes = name, study, folder, sizes
        self.log = folder / "log"
        self.whole = {seed: folder / f"whole{seed}" / name for seed in (0, 1)}
        for seed, output in self.whole.items():
            if self.run(output, seed) != "ok":
                sys.exit(f"{name} fails without a fault:\n{self.log.read_text()[-3000:]}")

    def run(self, output: Path, seed: int = 0) -> str:
        return wait(start(command(self.name, self.study, output, seed), self.log))

    def judged(self, ended: str, output: Path, seed: int = 0) -> str:
        return "silent wrong" if ended == "ok" and differences(output, self.whole[seed]) else ended

    def full_disk(self) -> Iterator[str]:
        """On disks from the smallest to one that is large enough; then there is room, and it goes on."""
        kilobytes = sum(file.stat().st_size // 1024 + 8 for file in self.whole[0].rglob("*"))
        for index in range(self.sizes):
            disk = self.folder / "disk"
            with small_disk(disk, 16 + int(1.5 * kilobytes * index / self.sizes)) as remount:
                output = disk / self.name
                ended = self.judged(self.run(output), output)
                remount("size=1g")
                if ended == "clear" and self.judged(self.run(output), output) != "ok":
                    ended = "lost"
                yield ended

    def full_disk_of_caches(self) -> Iterator[str]:
        """A full disk under the caches of `datasets`."""
        for index in range(2):
            disk = self.folder / "disk"
            with small_disk(disk, 4 + 28 * index):
                output = self.folder / "of_caches" / self.name
                shutil.rmtree(output, ignore_errors=True)

                def work(output: Path = output, disk: Path = disk) -> None:
                    import datasets

                    datasets.config.HF_DATASETS_CACHE = disk
                    command(self.name, self.study, output)()

                yield self.judged(wait(start(work, self.log)), output)

    def read_only(self) -> Iterator[str]:
        """A folder on a disk that cannot be written: it ends before its work."""
        disk = self.folder / "disk"
        with small_disk(disk, 10_000) as remount:
            remount("ro")
            for output in (disk, disk / self.name):
                ended = self.run(output)
                yield "unclear" if ended == "clear" and self.has_worked() else ended

    def has_worked(self) -> bool:
        text = self.log.read_text(encoding="utf-8", errors="replace")
        return "embedding" in text or "train_loss" in text

    def foreign(self) -> Iterator[str]:
        """A folder with a file of somebody else."""
        for name in FOREIGN:
            output = self.folder / "foreign" / self.name
            shutil.rmtree(output, ignore_errors=True)
            file = output / name
            file.parent.mkdir(parents=True)
            file.write_text("mine")
            ended = self.run(output)
            if not file.is_file() or file.read_bytes() != b"mine":
                ended = "lost"
            yield ended

    def foreign_link(self) -> Iterator[str]:
        """A file elsewhere, to which links lead from names that are written in an unfinished run."""
        for name in ("results.json", ".results.json.unfinished", "model.safetensors", ".README.md.unfinished"):
            output, elsewhere = self.folder / "linked" / self.name, self.folder / "elsewhere"
            shutil.rmtree(output, ignore_errors=True)
            elsewhere.write_text("mine")
            run = start(command(self.name, self.study, output), self.log)
            while not run.is_over() and not any(path.suffix != ".lock" for path in output.glob("*")):
                time.sleep(0.001)
            if output.exists() and not (output / name).exists():
                (output / name).symlink_to(elsewhere)
            ended = wait(run)
            yield ended if elsewhere.read_bytes() == b"mine" else "lost"

    def file_in_place(self) -> Iterator[str]:
        """A file in place of the folder, and a folder inside a file."""
        file = self.folder / "file"
        file.write_text("mine")
        for output in (file, file / "folder"):
            ended = self.run(output)
            yield ended if file.read_bytes() == b"mine" else "lost"

    def two_at_once(self) -> Iterator[str]:
        """Two runs with different results into one folder, the second some time after the first."""
        for share in (0.0, 0.02, 0.2, 0.5):
            output = self.folder / "both" / self.name
            shutil.rmtree(output, ignore_errors=True)
            logs = [self.folder / f"log{seed}" for seed in (0, 1)]
            runs = [start(command(self.name, self.study, output, 0), logs[0])]
            time.sleep(share)
            runs.append(start(command(self.name, self.study, output, 1), logs[1]))
            ended = [wait(run) for run in runs]
            won = [seed for seed in (0, 1) if ended[seed] == "ok"]
            if set(ended) == {"ok", "clear"}:
                yield "clear" if self.judged("ok", output, won[0]) == "ok" else "silent wrong"
            elif set(ended) == {"ok"}:  # one after the other
                yield "ok" if "ok" in (self.judged("ok", output, seed) for seed in won) else "silent wrong"
            else:
                yield next(end for end in ended if end != "ok")


KINDS: dict[str, Callable[[Faults], Iterator[str]]] = {
    "full disk": Faults.full_disk,
    "full disk of caches": Faults.full_disk_of_caches,
    "read-only folder": Faults.read_only,
    "folder of somebody else": Faults.foreign,
    "link to a file elsewhere": Faults.foreign_link,
    "file in place of the folder": Faults.file_in_place,
    "two runs at once": Faults.two_at_once,
}
GOOD = {"ok", "clear"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, default=8, help="of small disks for each command")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=COMMANDS)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    args = parser.parse_args()
    has_failed = False
    with prepared() as (directory, study):
        for name in args.commands:
            folder = directory / name
            folder.mkdir()
            faults = Faults(name, study, folder, args.sizes)
            for kind in args.kinds:
                try:
                    counts: dict[str, object] = dict(Counter(KINDS[kind](faults)))
                except PermissionError as error:
                    counts = {"not tried": str(error)}
                print(json.dumps({"benchmark": f"faults/{kind}", "command": name, **counts}), flush=True)
                has_failed |= not counts.keys() <= {*GOOD, "not tried"}
    sys.exit(has_failed)


if __name__ == "__main__":
    main()
