"""Share a dataset, a transform, a metric or a model on the Hub, with a card; what opens it needs no hf_alignet.

    python recipes/publish.py dataset choices.csv user/choices --object_names names.txt
    python recipes/publish.py dataset outputs/triplets user/triplets --license cc-by-4.0
    python recipes/publish.py transform outputs/teacher user/teacher
    python recipes/publish.py metric hub_cards/metrics/rsa_spearman user/rsa_spearman
    python recipes/publish.py model outputs/dinov2-small-aligned user/dinov2-small-aligned

A dataset is human judgments in any form that recipes/fit_teacher.py reads, the raw results of Levels, a similarity
matrix, what recipes/make_triplets.py made, or pictures. It becomes parquet files that load_dataset opens, with their
checksums. People's names become numbers, and pictures are only uploaded with --i_have_the_right_to_share_images.

--dry_run shows the files and the card. Nothing is uploaded that holds a pickle, a local path or a token. Where an
upload fails, the same command goes on: files that the Hub has are not sent again.
"""

import logging
import shlex
import sys
from itertools import takewhile
from pathlib import Path

from hf_alignet.cli.arguments.publishing import PublishArguments
from hf_alignet.cli.command import parse, run
from hf_alignet.errors import InputError, RunError
from hf_alignet.hub.publish.copies import write_copy
from hf_alignet.hub.publish.replacing import check_nothing_lost, replaced_files
from hf_alignet.hub.publish.staging import staged
from hf_alignet.hub.transport.inspection import check_shareable
from hf_alignet.hub.transport.repository import make_repository, share_folder

USAGE = "%(prog)s {dataset,transform,metric,model} PATH user/name [flags]; --help tells them all"
FIRST_WORDS = ("kind", "path", "repo_id")


def named_words(argv: list[str]) -> list[str]:
    """The command line with the first words as flags, so that a configuration can hold them too."""
    words = list(takewhile(lambda word: not word.startswith("-"), argv))
    if len(words) > len(FIRST_WORDS):
        raise InputError(f"there is a word too many: {words[len(FIRST_WORDS)]}; see --help")
    flags = [f"--{name}={word}" for name, word in zip(FIRST_WORDS, words, strict=False)]
    return [*flags, *argv[len(words) :]]


def show(folder: Path) -> None:
    """The card, and the files with their sizes."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    print((folder / "README.md").read_text(encoding="utf-8"))
    print("-" * 80)
    for file in files:
        print(f"{file.stat().st_size:>14,}  {file.relative_to(folder)}")
    print(f"{sum(file.stat().st_size for file in files):>14,}  in {len(files)} files, in {folder}")


def main() -> None:
    (arguments,) = parse([PublishArguments], __doc__, named_words(sys.argv[1:]), usage=USAGE)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    folder = Path(arguments.output_dir) / f"{arguments.repo_type}s--{arguments.repo_id.replace('/', '--')}"
    with staged(folder, arguments.sources) as unfinished:
        write_copy(arguments, unfinished)
        check_shareable(unfinished, arguments.sources)
    if arguments.dry_run:
        show(folder)
        return
    try:
        make_repository(arguments.repo_id, arguments.private or None, arguments.repo_type, arguments.revision)
    except InputError as error:
        raise RunError(f"{error}. {folder} is complete: the same command tries again") from error
    check_nothing_lost(folder, arguments)
    replaced, again = replaced_files(folder, arguments), shlex.join(["python", *sys.argv])
    share_folder(folder, arguments.repo_id, ["*"], arguments.repo_type, arguments.revision, replaced, again)
    print(f"{folder} is shared as the {arguments.repo_type} {arguments.repo_id}")


if __name__ == "__main__":
    run(main)
