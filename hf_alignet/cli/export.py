"""Export a model to ONNX: from the pixels of any number of pictures to embeddings, with the pooling inside.

    hf-alignet export outputs/dinov2-small-aligned --output_dir outputs/dinov2-small-onnx --int8

It writes model.onnx, the settings of its image processor, and onnx.json: how far its embeddings in onnxruntime are
from those in torch (an error above 1e-4 of the largest), and with --int8 how often the smaller file picks the same odd
one out. It needs `pip install "hf-alignet[onnx]"`.
"""

import logging
from functools import partial
from typing import Any

from hf_alignet.cli.arguments.signature import flags_of
from hf_alignet.cli.command import Command
from hf_alignet.workflows.onnx_run import export

SETTINGS = [flags_of(export, renamed={"model": "model_name_or_path"})]
AGAIN = "the same command does it again"
COMMAND = Command("export", SETTINGS, __doc__, words=("model_name_or_path",), when_interrupted=AGAIN)


def export_command(arguments: Any, line: str) -> None:
    """Exports the model that the flags name."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    export(**arguments.values())


main = partial(COMMAND.run, export_command)

if __name__ == "__main__":
    main()
