"""What the package fits and shares as a model of its own: affine transforms and VICE."""

import inspect
import tempfile
from pathlib import Path
from typing import Any, ClassVar, Self

from huggingface_hub import ModelHubMixin, hf_hub_download

from hf_alignet.errors import RunError
from hf_alignet.hub.connection import HUB_ERRORS, reason, refusing
from hf_alignet.hub.transport.inspection import check_shareable
from hf_alignet.sources import split_revision
from hf_alignet.storage import MARKER, new_files, output_folder


class SharedModel(ModelHubMixin):
    """Saves to a directory, loads from it, and shares on the Hub, with clear errors and a card of its own."""

    kind: ClassVar[str] = "model"  # in messages

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> Self:
        """Loads what `save_pretrained` wrote, from a directory or a Hub id, optionally with `@revision`.

        Args:
            pretrained_model_name_or_path: the directory or Hub id.
            **kwargs: as for `huggingface_hub.ModelHubMixin`, such as `revision` and `token`.

        Raises:
            InputError: it does not exist, or is something else.
        """
        name, revision = split_revision(str(pretrained_model_name_or_path))
        if revision is not None:
            kwargs["revision"] = revision
        with refusing(f"the {cls.kind} {str(pretrained_model_name_or_path)!r}"):
            return super().from_pretrained(name, **kwargs)

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> str | None:
        """Writes `config.json`, `model.safetensors` and a card; other arguments are those of `ModelHubMixin`.

        Raises an InputError if the directory holds something else, see `hf_alignet.storage.output_folder`.
        """
        with output_folder(save_directory, "save_pretrained", "save_directory") as directory:
            kwargs.setdefault("repo_id", directory.name)
            with new_files(directory) as made:
                return super().save_pretrained(made, **kwargs)

    def push_to_hub(self, repo_id: str, *, model_card_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> str:
        """Uploads `config.json`, `model.safetensors` and a card; other arguments are those of `ModelHubMixin`.

        Raises:
            InputError: a file must not be shared (see `check_shareable`).
            RunError: the Hub did not take it (says why).
        """
        inspect.signature(super().push_to_hub).bind(repo_id, **kwargs)  # TypeError for an unknown argument
        card = {"repo_id": repo_id, **(model_card_kwargs or {})}
        ignored = kwargs.get("ignore_patterns") or []
        kwargs["ignore_patterns"] = [f"{MARKER}*", *([ignored] if isinstance(ignored, str) else ignored)]
        with tempfile.TemporaryDirectory() as directory:
            self.save_pretrained(directory, model_card_kwargs=card)
            check_shareable(Path(directory))
        try:
            return super().push_to_hub(repo_id, model_card_kwargs=card, **kwargs)
        except (*HUB_ERRORS, OSError, RuntimeError) as error:
            raise RunError(f"the {self.kind} is not shared as {repo_id}: {reason(error)}") from error

    @staticmethod
    def file(model_id: str, name: str, **download: Any) -> Path:
        """A file of a directory, or of a repository on the Hub, which is downloaded if necessary."""
        directory = Path(model_id)
        return directory / name if directory.is_dir() else Path(hf_hub_download(model_id, name, **download))
