"""A Hugging Face Hub for tests: in memory, on a random port of 127.0.0.1, strict about what is committed (`checks`).

Speaks the part of the HTTP API that huggingface_hub, transformers, datasets and peft use to create, commit, list,
resolve and delete. Not here: xet storage (`env` turns it off), pull requests, multipart LFS, pagination, rights.

    with FakeHub(forbidden=[str(tmp_path)]) as hub:
        subprocess.run([sys.executable, "push.py"], env={**os.environ, **hub.env(tmp_path / "cache")}, check=True)
        assert hub.ls("model", f"{USER}/my-model") == ["README.md", "config.json", "model.safetensors"]

HF_ENDPOINT is read when huggingface_hub is imported, hence the subprocess.
"""

from .api import TOKEN, USER
from .repository import HubError
from .server import Failure, FakeHub, RequestRecord

__all__ = ["TOKEN", "USER", "Failure", "FakeHub", "HubError", "RequestRecord"]
