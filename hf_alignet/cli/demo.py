"""The demo: align a small encoder of emoji to simulated raters, and measure it before and after.

    hf-alignet demo

Needs no download and takes minutes on two CPU cores. The settings are those of `hf-alignet align`; the aligned encoder
goes to outputs/demo-aligned.
"""

from functools import partial

from hf_alignet.cli.align import GO_ON, SETTINGS, align_command
from hf_alignet.cli.command import Command
from hf_alignet.workflows.alignment_run import demo_config

COMMAND = Command("demo", SETTINGS, __doc__, lambda given: demo_config(), launches=True, when_interrupted=GO_ON)


main = partial(COMMAND.run, align_command)

if __name__ == "__main__":
    main()
