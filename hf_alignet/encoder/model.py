"""Encoders: any model that `AutoModel` loads, as a module that gives one float32 embedding per image, or per text.

`Encoder` is what they share; `vision_model` and `text_model` say what a picture and a text are to a model.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import torch
import transformers
from datasets import Dataset
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.utils import find_adapter_config_file

from hf_alignet.encoder import lora
from hf_alignet.encoder.embedding import embed_dataset
from hf_alignet.encoder.half_precision import copy_in_bf16
from hf_alignet.encoder.pretrained import load_model, loading, quiet_loading, read_alignment
from hf_alignet.encoder.sentence_files import remove_sentence_files
from hf_alignet.encoder.transform import AffineTransform
from hf_alignet.errors import InputError
from hf_alignet.images import Picture, Preprocessor, Reader, TextPreprocessor
from hf_alignet.sources import public_name, split_revision
from hf_alignet.storage import new_files

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel

PROJECTION_FILE = "projection.safetensors"
SAME = 1e-6  # relative difference of embeddings that is rounding

logger = logging.getLogger(__name__)


class Encoder(nn.Module, ABC):
    """One embedding per image or text from a model, the same in training and in evaluation.

    Attributes:
        pooling: how the output of the model becomes one embedding.
        embedding_dim: length d of an embedding.
        projection: an optional linear head for training only; `add_projection` makes it.
        transform: an optional transform of the embeddings; with one, the encoder is a human-aligned teacher.
        revision: revision of the checkpoint, if one was given; a new adapter records it.
    """

    # For Trainer: our loss is a plain mean over the batch, and the model takes no `num_items_in_batch`
    accepts_loss_kwargs = False

    noun: str  # what it embeds
    main_input: str  # what its model takes
    tower: str  # the part of the configuration of a dual model that describes it

    model: transformers.PreTrainedModel | PeftModel
    preprocessor: Preprocessor | TextPreprocessor
    pooling: str

    def __init__(self, model: transformers.PreTrainedModel | PeftModel, processor: Any, pooling: str = "auto"):
        super().__init__()
        self.model = model
        self.processor = processor
        self.preprocessor = self._make_preprocessor()
        self.projection: nn.Linear | None = None
        self.transform: AffineTransform | None = None
        self.revision: str | None = None
        self.is_bf16 = False
        self.train(model.training)
        lora.check_adapter(model)
        lora.merge_in_training(model)
        with torch.no_grad():
            inputs, outputs = self._try_forward()
            self._choose_pooling(pooling, inputs, outputs)
            self.embedding_dim = self._pool(outputs, inputs).shape[1]

    @abstractmethod
    def _make_preprocessor(self) -> Preprocessor | TextPreprocessor:
        """What turns rows into inputs, by the processor."""

    @abstractmethod
    def _choose_pooling(self, pooling: str, inputs: dict[str, Tensor], outputs: Any) -> None:
        """Sets `pooling`, by inputs of one row and the output of the model for them."""

    @abstractmethod
    def _pool(self, outputs: Any, inputs: dict[str, Tensor]) -> Tensor:
        """Embeddings (B, d) in float32."""

    @abstractmethod
    def _examples(self) -> list[Any]:
        """Two rows that differ."""

    @abstractmethod
    def usage(self) -> dict[str, Any]:
        """How the embedding is made of the output of the model, for `alignment.json`."""

    @abstractmethod
    def write_sentence_files(self, directory: Path, similarity: str | None = None) -> bool:
        """See `hf_alignet.encoder.sentence_files`."""

    @staticmethod
    @abstractmethod
    def load_processor(name: str, **options: Any) -> Any:
        """The processor of a checkpoint."""

    @staticmethod
    @abstractmethod
    def _known_pooling(name: str, revision: str | None, model: transformers.PreTrainedModel) -> str:
        """The pooling that a checkpoint was trained with, for `auto`; or `auto` if that is not known."""

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str,
        pooling: str = "auto",
        trust_remote_code: bool = False,
        transform: str | AffineTransform | None = None,
    ) -> Self:
        """Loads a model or a PEFT adapter, in float32.

        Only the tower of a dual model (CLIP, SigLIP) is loaded. If a checkpoint has no weights for the pooler,
        the pooler is left out, because its weights would be random. An aligned model is pooled as in its training.

        Args:
            name_or_path: a directory or a Hub id, optionally with `@revision`.
            pooling: one of the class, or `auto`.
            trust_remote_code: allow code from the repository to run.
            transform: an `AffineTransform` that all embeddings go through, or its directory or Hub id. With `auto`,
                pooling is as for the fit of the transform.

        Raises:
            InputError: the model does not exist, is of another kind, needs remote code, or lacks weights that the
                embedding uses; or the transform does not exist, or has another width.
        """
        if transform is not None:
            if not isinstance(transform, AffineTransform):
                transform = AffineTransform.from_pretrained(transform)
            pooling = transform.info.get("pooling") or pooling if pooling == "auto" else pooling
            encoder = cls.from_pretrained(name_or_path, pooling, trust_remote_code)
            encoder.add_transform(transform)
            fitted = transform.info.get("base_model")
            if fitted and split_revision(fitted)[0] != split_revision(public_name(name_or_path))[0]:
                logger.warning("the transform was fitted to features of %r, not of %r", fitted, name_or_path)
            return encoder
        recorded = read_alignment(name_or_path).get("pooling", "auto")  # first: its error is clearest
        pooling = recorded if pooling == "auto" else pooling
        name, revision = split_revision(name_or_path)
        with loading(name):
            is_adapter = find_adapter_config_file(name, revision=revision) is not None
        if is_adapter:
            return cls._load_adapter(name, revision, pooling, trust_remote_code)
        model, missing = load_model(name, revision, trust_remote_code, cls.tower, cls.main_input)
        with loading(name):
            pooling = cls._known_pooling(name, revision, model) if pooling == "auto" else pooling
            processor = cls.load_processor(name, revision=revision, trust_remote_code=trust_remote_code)
            encoder = cls(model, processor, pooling)
        encoder.revision = revision
        random = sorted(missing & encoder.used_parameters())
        if random:
            raise InputError(
                f"{name_or_path!r} lacks {len(random)} of the weights that its embedding needs (the first is "
                f"{random[0]!r}), which would be random"
            )
        encoder._check_embeddings(name)
        return encoder

    @classmethod
    def _load_adapter(cls, name: str, revision: str | None, pooling: str, trust_remote_code: bool) -> Self:
        encoder = cls.from_pretrained(lora.base_of_adapter(name, revision), pooling, trust_remote_code)
        # Not AutoModel: for the tower of a dual model, it loads the whole and drops the weights of the adapter
        encoder.model = lora.open_adapter(encoder.model, name, revision)
        encoder.train(encoder.training)  # the dropout of a new adapter is in training mode
        encoder._check_embeddings(name)
        return encoder

    def _check_embeddings(self, name: str) -> None:
        """InputError if embeddings are not finite, or all the same."""
        with torch.no_grad(), loading(name):
            inputs, outputs = self._try_forward(2)
            one, other = self._pool(outputs, inputs)
        if not torch.isfinite(one).all():
            raise InputError(f"the model {name!r} gives embeddings that are not finite: its files are damaged")
        if (one - other).norm() <= SAME * one.norm():
            raise InputError(f"the model {name!r} gives every {self.noun} the same embedding: its files are damaged")

    @property
    def backbone(self) -> transformers.PreTrainedModel:
        """The model itself, without an adapter around it."""
        return cast(Any, self.model.get_base_model() if lora.is_adapted(self.model) else self.model)

    @property
    def is_adapter(self) -> bool:
        return lora.is_adapted(self.model)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def forward(
        self,
        main: Tensor | None = None,
        project: bool = False,
        images_per_forward: int | None = None,
        **inputs: Tensor,
    ) -> Tensor:
        """Embeddings (B, d) in float32, or (B, projection_dim) with `project`.

        Args:
            main: the main input, if it does not come by its name.
            project: send the embedding through the projection head.
            images_per_forward: number of images in a slice of the batch. The forward pass goes slice by slice and
                keeps only the embeddings; the backward pass computes each slice again. The gradients are exact.
            **inputs: outputs of `preprocessor.stack`: `pixel_values` (B, 3, H, W), as uint8 or normalised floats, or
                `input_ids` (B, T); and masks and the like.
        """
        inputs = inputs if main is None else {self.main_input: main, **inputs}
        number = len(inputs[self.main_input])
        size = images_per_forward or number
        if size < number:
            slices = [{k: v[i : i + size] for k, v in inputs.items()} for i in range(0, number, size)]
            embeddings = torch.cat([checkpoint(self._embed_batch, part, use_reentrant=False) for part in slices])
        else:
            embeddings = self._embed_batch(inputs)
        if not project:
            return embeddings
        if self.projection is None:
            raise ValueError("this encoder has no projection head; call add_projection first")
        return self.projection(embeddings)

    def _embed_batch(self, inputs: dict[str, Tensor]) -> Tensor:
        inputs = self.preprocessor.normalize(inputs)
        if self.is_bf16:
            inputs = {name: v.bfloat16() if v.is_floating_point() else v for name, v in inputs.items()}
        embeddings = self._pool(self.model(**inputs), inputs)
        return embeddings if self.transform is None else self.transform(embeddings)

    def embed(self, images: Dataset | Reader | Sequence[Picture], **options: Any) -> np.ndarray:
        """Embeddings (n, d) float32 of images or texts; for the options see `hf_alignet.encoder.embedding`."""
        return embed_dataset(self, images, **options)

    def in_bf16(self) -> Self:
        """A copy for inference whose model has weights in bfloat16; see `hf_alignet.encoder.half_precision`."""
        encoder = copy.copy(self)
        encoder._modules = {**self._modules, "model": copy_in_bf16(self.model)}
        encoder.is_bf16 = True
        return encoder

    def describe(self) -> dict[str, Any]:
        """What embeddings depend on, as JSON can hold it: hashes of the weights and the settings, and the pooling."""
        weights = hashlib.blake2b(digest_size=16)
        transform = self.transform.state_dict() if self.transform is not None else {}
        for name, tensor in [*sorted(self.model.state_dict().items()), *sorted(transform.items())]:
            weights.update(name.encode())
            weights.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        settings = {"model": self.backbone.config.to_dict(), "processor": self.preprocessor.describe()}
        text = json.dumps(settings, sort_keys=True, default=str)
        return {
            "weights": weights.hexdigest(),
            "settings": hashlib.blake2b(text.encode(), digest_size=16).hexdigest(),
            "pooling": self.pooling,
        }

    def add_projection(self, dim: int) -> None:
        """Adds a new linear head d -> dim that the loss acts on; exported embeddings do not go through it."""
        self.projection = nn.Linear(self.embedding_dim, dim, device=self.device)

    def add_transform(self, transform: AffineTransform) -> None:
        """Sends all embeddings through a transform, from now on; InputError if it has another width."""
        if transform.dim != self.embedding_dim:
            raise InputError(
                f"the transform is of {transform.dim} features, but the embedding has {self.embedding_dim}: it was "
                "fitted to another model, or with another pooling"
            )
        self.transform = transform.to(self.device)

    def train(self, mode: bool = True) -> Self:
        """As for any module, but the batch statistics of the base of an adapter, which stores none, stay."""
        super().train(mode)
        for module in self.model.modules() if self.is_adapter else ():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def used_parameters(self) -> set[str]:
        """Names in `model` of the parameters that the embedding depends on, found by one backward pass."""
        trainable = {name: parameter.requires_grad for name, parameter in self.model.named_parameters()}
        self.model.requires_grad_(True)
        inputs, outputs = self._try_forward()
        self._pool(outputs, inputs).sum().backward()
        used = {name for name, parameter in self.model.named_parameters() if parameter.grad is not None}
        self.model.zero_grad(set_to_none=True)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(trainable[name])
        return used

    def freeze_unused(self) -> list[str]:
        """Freezes the parameters that the embedding does not depend on, and returns their names.

        Distributed training waits for a gradient of every trainable parameter, so an unused one would block it.
        """
        used = self.used_parameters()
        unused = [name for name, p in self.model.named_parameters() if p.requires_grad and name not in used]
        for name in unused:
            self.model.get_parameter(name).requires_grad_(False)
        return unused

    def add_lora(self, config: LoraConfig) -> None:
        """Wraps the model in a new adapter. Layers where LoRA would have no effect are left out.

        Without `target_modules` in the config, the structure of the model decides which layers are adapted; see
        `hf_alignet.encoder.lora`. Merge an adapter with DoRA before you share it, because AutoModel drops its
        magnitudes.

        Raises:
            InputError: the model has no such layer, or LoRA cannot adapt it.
        """
        plain = self.model
        self.model = adapted = lora.add_adapter(plain, config, self.used_parameters(), self.revision)
        self.train(self.training)
        try:
            with torch.no_grad():
                self._try_forward()
        except AttributeError as error:  # MobileNetV2 pads by the stride of a convolution that PEFT has wrapped
            self.model = adapted.unload()
            raise InputError(
                f"{type(plain).__name__} does not run with LoRA on these layers, because it reads their attributes "
                f"({error}); train all weights, without `use_lora`"
            ) from error

    def merge_adapter(self) -> None:
        """Adds the adapter to the weights; the result is a plain model."""
        if lora.is_adapted(self.model):
            self.model = cast(Any, self.model.merge_and_unload())

    def activation_checkpointing_enable(self, **options: Any) -> None:
        """Trainer calls this for `activation_checkpointing`, or `gradient_checkpointing` in older versions."""
        backbone: Any = self.backbone
        try:
            getattr(backbone, "activation_checkpointing_enable", backbone.gradient_checkpointing_enable)(**options)
        except ValueError as error:
            raise InputError(f"{error} Leave the option out.") from error

    gradient_checkpointing_enable = activation_checkpointing_enable

    def save_pretrained(self, directory: str | Path, similarity: str | None = None) -> None:
        """Writes the model (or adapter) and its processor as transformers and PEFT do, and the head beside them.

        sentence-transformers opens it, too; for `similarity` and exceptions see `hf_alignet.encoder.sentence_files`.

        Raises:
            InputError: the encoder has a transform, which cannot be saved in a plain model.
        """
        directory = Path(directory).expanduser()
        if self.transform is not None:
            raise InputError(
                "a plain model directory cannot hold the transform, and without it the embeddings would change: "
                "save encoder.transform in a directory of its own, and load both with "
                f"{type(self).__name__}.from_pretrained(model, transform=transform)"
            )
        with new_files(directory) as made:
            self.model.save_pretrained(str(made))
            self.processor.save_pretrained(made)
            remove_sentence_files(directory)
            self.write_sentence_files(made, similarity)
            if self.projection is not None:
                save_file(self.projection.state_dict(), made / PROJECTION_FILE)

    def load_weights(self, directory: str | Path) -> None:
        """Loads the weights that `save_pretrained` wrote for the same architecture; InputError if some are missing."""
        directory = Path(directory).expanduser()
        if self.is_adapter:
            lora.load_adapter_weights(self.model, directory, self.device)
        else:
            with quiet_loading():  # it would report a pooler that was left out
                options: dict[str, Any] = {"dtype": torch.float32, "output_loading_info": True}
                loaded: Any = type(self.backbone).from_pretrained(directory, **options)
            saved, info = loaded
            if missing := sorted(self.model.state_dict().keys() & set(info["missing_keys"])):
                raise InputError(f"{directory} lacks {len(missing)} weights of the model, the first is {missing[0]!r}")
            self.model.load_state_dict(saved.state_dict())
        if self.projection is not None:
            self.projection.load_state_dict(load_file(directory / PROJECTION_FILE))

    def _try_forward(self, number: int = 1) -> tuple[dict[str, Tensor], Any]:
        """Inputs and outputs for one or two examples, without dropout or changes of batch statistics."""
        inputs = {k: v.to(self.device) for k, v in self.preprocessor(self._examples()[:number]).items()}
        was_training = self.training
        self.eval()
        outputs = self.model(**inputs)
        self.train(was_training)
        return inputs, outputs
