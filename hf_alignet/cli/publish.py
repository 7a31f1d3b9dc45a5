"""Share a dataset, transform, metric, model or Space on the Hub. Others open it without hf_alignet.

    hf-alignet publish dataset choices.csv user/choices --object_names names.txt
    hf-alignet publish dataset outputs/triplets user/triplets --license cc-by-4.0
    hf-alignet publish transform outputs/teacher user/teacher
    hf-alignet publish metric hub_cards/metrics/rsa_spearman user/rsa_spearman
    hf-alignet publish model outputs/dinov2-small-aligned user/dinov2-small-aligned
    hf-alignet publish space hub_cards/space user/what-is-similar

A dataset is human judgments in any form that `hf-alignet fit-teacher` reads, the raw results of Levels, a similarity
matrix, the output of `hf-alignet make-triplets`, or pictures. It becomes parquet files that load_dataset opens, with
checksums. The names of participants become numbers. Nothing is uploaded that holds a pickle, a local path or an access
token. If an upload fails, the same command continues: files that the Hub has are not uploaded again.
"""

import logging
from functools import partial
from pathlib import Path
from typing import Any

from hf_alignet.cli.arguments.signature import flags_of
from hf_alignet.cli.command import Command
from hf_alignet.hub.publish import publish
from hf_alignet.storage import MARKER

COMMAND = Command(
    "publish",
    [flags_of(publish, ["command"])],
    __doc__,
    words=("kind", "path", "repo_id"),
    when_interrupted="the same command does it again; files that the Hub has are not uploaded again",
)


def publish_command(arguments: Any, line: str) -> None:
    """Publishes what the flags describe, or shows what would be published."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    folder = publish(**arguments.values(), command=line)
    if arguments.dry_run:
        _show(folder)
    else:
        print(f"{folder} is shared as {arguments.repo_id}")


def _show(folder: Path) -> None:
    """The card, and the files with their sizes."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != MARKER]
    sizes = {file.relative_to(folder): file.stat().st_size for file in files}
    print((folder / "README.md").read_text(encoding="utf-8"), "-" * 80, sep="\n")
    print("\n".join(f"{sizes[name]:>14,}  {name}" for name in sorted(sizes)))
    print(f"{sum(sizes.values()):>14,}  bytes in {len(sizes)} files, in {folder}")


main = partial(COMMAND.run, publish_command)

if __name__ == "__main__":
    main()
