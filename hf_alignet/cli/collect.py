"""Collect odd-one-out choices in the browser: from a folder of pictures to judgments.

    hf-alignet collect init my-study --images my-pictures --num_participants 100 --trials 330 --repeats 5
    hf-alignet collect serve my-study                     # at http://127.0.0.1:8000/
    hf-alignet collect status my-study
    hf-alignet collect export my-study outputs/choices    # then: fit-teacher --judgments outputs/choices

    hf-alignet collect static my-study outputs/site       # a folder for any web host, without a server
    hf-alignet collect import my-study --results downloads

`init` plans the study: which triplets, who sees them when; --dry_run only shows the plan. Texts and times are in
my-study/study.yaml, for you to edit. `hf-alignet collect init --help`, and so on, explain the settings. `serve` and
`static` need more packages: pip install "hf-alignet[collect]".
"""

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

from hf_alignet.cli.arguments.signature import flags_of
from hf_alignet.cli.command import Command
from hf_alignet.collect.brought_results import import_results
from hf_alignet.collect.collected_answers import export_study, study_status
from hf_alignet.collect.serving import serve_study
from hf_alignet.collect.static_site import build_static
from hf_alignet.collect.study_making import init_study

STEPS: dict[str, tuple[Callable[..., Any], Sequence[str]]] = {
    "init": (init_study, ("study",)),
    "serve": (serve_study, ("study",)),
    "status": (study_status, ("study",)),
    "export": (export_study, ("study", "output_dir")),
    "static": (build_static, ("study", "output_dir")),
    "import": (import_results, ("study",)),
}


def step_command(name: str) -> Command:
    """The command of one step, `hf-alignet collect NAME`."""
    work, words = STEPS[name]
    again = "the same command goes on; all answers are stored" if name == "serve" else "the same command does it again"
    return Command(f"collect {name}", [flags_of(work)], work.__doc__ or "", words=words, when_interrupted=again)


def _told(name: str, arguments: Any, found: Any) -> str | None:
    """What a step prints at its end."""
    if name == "export":
        return "\n".join(f"{number:>9}  {what}" for what, number in found.items())
    if name == "import":
        return f"{found} participants were added"
    if name == "static":
        return f"{arguments.output_dir} is the site"
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one step. Without a step it prints the help, and exits with status 2."""
    argv = list(sys.argv[1:] if argv is None else argv)
    name = argv[0] if argv else ""
    if name in ("-h", "--help", ""):
        print(__doc__)
        sys.exit(0 if name else 2)
    if name not in STEPS:
        print(f"\nerror: collect has no step {name!r}; the steps are {', '.join(STEPS)}", file=sys.stderr)
        sys.exit(2)

    def body(arguments: Any, line: str) -> None:
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        told = _told(name, arguments, STEPS[name][0](**arguments.values()))
        if told is not None:
            print(told)

    step_command(name).run(body, argv[1:])


if __name__ == "__main__":
    main()
