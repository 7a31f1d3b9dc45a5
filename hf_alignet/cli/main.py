"""The command `hf-alignet`: finds the module of the command that follows, and runs it.

    hf-alignet demo            align the small encoder of the package, and measure it before and after
    hf-alignet fit-teacher     people's choices -> a teacher
    hf-alignet make-triplets   images and a teacher -> labelled triplets
    hf-alignet align           images and triplets -> an aligned model, measured before and after
    hf-alignet evaluate        how human a model is, and how useful
    hf-alignet analyze         what alignment did: relations, projections, examples, in one report
    hf-alignet explore         in a browser: what models find similar before and after alignment
    hf-alignet publish         a dataset, transform, metric, model or Space -> the Hub, with its card
    hf-alignet collect         an odd-one-out experiment in the browser: pictures -> choices
    hf-alignet study           how alignment goes together with usefulness, over many models
    hf-alignet embed           a model and images -> a dataset of embeddings, for a search index
    hf-alignet export          a model -> ONNX

`hf-alignet COMMAND --help` explains the settings of a command.
"""

import gc
import sys
from collections.abc import Sequence
from importlib import import_module

from hf_alignet import __version__

COMMANDS = (
    "align",
    "analyze",
    "collect",
    "demo",
    "embed",
    "evaluate",
    "explore",
    "export",
    "fit-teacher",
    "make-triplets",
    "publish",
    "study",
)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one command. Without a command it prints the help, and exits with status 2."""
    is_whole_process, argv = argv is None, list(sys.argv[1:] if argv is None else argv)
    name = argv[0] if argv else ""
    if name in ("-h", "--help", ""):
        print(__doc__)
        sys.exit(0 if name else 2)
    if name == "--version":
        print(__version__)
        return
    if name not in COMMANDS:
        print(f"\nerror: there is no command {name!r}; the commands are {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    gc.disable()  # nothing that is imported is garbage, and to look for it takes a sixth of the imports
    try:
        run = import_module(f"hf_alignet.cli.{name.replace('-', '_')}").main
    except KeyboardInterrupt:  # the libraries take seconds to load
        sys.exit(130)
    finally:
        if is_whole_process:
            gc.freeze()  # nor is it later, when Trainer looks
        gc.enable()
    run(argv[1:])


if __name__ == "__main__":
    main()
