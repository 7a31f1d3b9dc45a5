"""Runs blocks of the README as they stand, one after another, in the current directory: python readme_runner.py FILE

FILE holds a JSON list of [language, text]. Python blocks are executed, and commands `hf-alignet …` are called in this
process, which imports torch only once. The demo, whose numbers tests/test_package.py reproduces, takes few steps here.
Prints one JSON line with the seconds of each block.
"""

import json
import re
import shlex
import sys
import time
from pathlib import Path

from hf_alignet.cli.main import main

FEW_STEPS = ["--max_steps", "10"]


def run(language: str, text: str) -> None:
    if language == "python":
        exec(compile(text, "README.md", "exec"), {"__name__": "readme"})
        return
    for line in re.sub(r"\\\n", " ", text).splitlines():
        words = shlex.split(line, comments=True)
        if words and words[0] == "hf-alignet":
            main(words[1:] + FEW_STEPS * (words[1:] == ["demo"]))


if __name__ == "__main__":
    seconds = []
    for language, text in json.loads(Path(sys.argv[1]).read_text()):
        started = time.perf_counter()
        print(f"--- {text.strip().splitlines()[-1]}", file=sys.stderr)
        run(language, text)
        seconds.append(round(time.perf_counter() - started, 1))
    print(json.dumps(seconds))
