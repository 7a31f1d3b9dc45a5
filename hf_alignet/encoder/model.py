"""VisionEncoder: any vision model that `AutoModel` loads, as a module that gives one float32 embedding per image."""

import copy
import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict, load_peft_weights, set_peft_model_state_dict
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import BaseImageProcessor, PreTrainedModel
from transformers.utils import find_adapter_config_file

from hf_alignet.encoder.embedding import embed_dataset
from hf_alignet.encoder.half_precision import copy_in_bf16
from hf_alignet.encoder.lora import check_adapter, find_targets, merge_in_training
from hf_alignet.encoder.pooling import choose_pooling, count_prefix_tokens, has_learned_pooler, pool
from hf_alignet.encoder.pretrained import load_vision_model, loading, quiet_loading, read_alignment
from hf_alignet.encoder.sentence_files import remove_sentence_files, write_sentence_files
from hf_alignet.encoder.transform import AffineTransform
from hf_alignet.errors import InputError
from hf_alignet.images.picture_list import Picture
from hf_alignet.images.preprocessing import Preprocessor, load_processor
from hf_alignet.images.reader import ImageReader
from hf_alignet.sources import public_name, split_revision
from hf_alignet.storage import new_files

PROJECTION_FILE = "projection.safetensors"
SAME = 1e-6  # relative difference of embeddings that is rounding

logger = logging.getLogger(__name__)


class VisionEncoder(nn.Module):
    """One embedding per image from a vision model, the same in training and in evaluation.

    Args:
        model: a vision `PreTrainedModel` (takes `pixel_values`, gives `last_hidden_state`), or a `PeftModel` of one.
        processor: the image processor of the model.
        pooling: `pooler`, `cls` or `mean`; `auto` takes that of the family, see `hf_alignet.encoder.pooling`.

    Raises:
        InputError: the model has no such pooling; `pooling` is `auto` and a model in memory has a pooler, which may
            not be trained (`from_pretrained` finds out); or an adapter has no effect in its place.

    Attributes:
        pooling: `pooler`, `cls` or `mean`.
        embedding_dim: length d of an embedding.
        num_prefix_tokens: number of class and register tokens before the patch tokens; `mean` leaves them out. None
            for a model that gives a feature map.
        output_shape: of what is pooled, for one picture.
        projection: an optional linear head for training only; `add_projection` makes it.
        transform: an optional transform of the embeddings; with one, the encoder is a human-aligned teacher.
        revision: revision of the checkpoint, if one was given; a new adapter records it.

    Example:
        >>> encoder = VisionEncoder.from_pretrained("facebook/dinov2-small")  # doctest: +SKIP
        >>> embeddings = encoder.embed(dataset)  # doctest: +SKIP
        >>> teacher = VisionEncoder.from_pretrained("user/model", transform="user/transform")  # doctest: +SKIP
    """

    # For Trainer: our loss is a plain mean over the batch, and the model takes no `num_items_in_batch`
    accepts_loss_kwargs = False

    model: PreTrainedModel | PeftModel

    def __init__(self, model: PreTrainedModel | PeftModel, processor: BaseImageProcessor, pooling: str = "auto"):
        super().__init__()
        self.model = model
        self.processor = processor
        self.preprocessor = Preprocessor(processor)
        self.projection: nn.Linear | None = None
        self.transform: AffineTransform | None = None
        self.revision: str | None = None
        self.is_bf16 = False
        self.train(model.training)
        check_adapter(model)
        merge_in_training(model)
        with torch.no_grad():
            inputs, outputs = self._try_forward()
            self.pooling = choose_pooling(pooling, self.backbone, outputs, inputs)
            self.embedding_dim = pool(self.pooling, self.backbone, outputs, inputs).shape[1]
            pooled = outputs["pooler_output" if self.pooling == "pooler" else "last_hidden_state"]
            self.output_shape = tuple(pooled.shape)
            has_tokens = outputs["last_hidden_state"].ndim == 3
            self.num_prefix_tokens = count_prefix_tokens(self.backbone, outputs, inputs) if has_tokens else None

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str,
        pooling: str = "auto",
        trust_remote_code: bool = False,
        transform: str | AffineTransform | None = None,
    ) -> "VisionEncoder":
        """Loads a model or a PEFT adapter, in float32.

        Only the vision tower of a dual model (CLIP, SigLIP) is loaded. If a checkpoint has no weights for the pooler,
        the pooler is left out, because its weights would be random. An aligned model is pooled as in its training.

        Args:
            name_or_path: a directory or a Hub id, optionally with `@revision`.
            pooling: `auto`, `pooler`, `cls` or `mean`.
            trust_remote_code: allow code from the repository to run.
            transform: an `AffineTransform` that all embeddings go through, or its directory or Hub id. With `auto`,
                images are pooled as for the fit of the transform.

        Raises:
            InputError: the model does not exist, is no vision model, needs remote code, or lacks weights that the
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
        model, missing = load_vision_model(name, revision, trust_remote_code)
        if pooling == "auto" and has_learned_pooler(model):
            pooling = "pooler"  # it is trained: otherwise it is left out
        with loading(name):
            processor = load_processor(name, revision=revision, trust_remote_code=trust_remote_code)
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
    def _load_adapter(cls, name: str, revision: str | None, pooling: str, trust_remote_code: bool) -> "VisionEncoder":
        with loading(name):
            adapter = PeftConfig.from_pretrained(name, revision=revision)
            if not adapter.base_model_name_or_path:
                raise InputError("its adapter_config.json names no base model")
            base = str(adapter.base_model_name_or_path) + (f"@{adapter.revision}" if adapter.revision else "")
            if find_adapter_config_file(split_revision(base)[0], revision=adapter.revision) is not None:
                raise InputError(f"the adapter {name!r} is for another adapter, {base!r}: merge that one first")
        encoder = cls.from_pretrained(base, pooling, trust_remote_code)
        with loading(name):
            # Not AutoModel: for the tower of a dual model, it loads the whole and drops the weights of the adapter
            encoder.model = PeftModel.from_pretrained(encoder.model, name, revision=revision, is_trainable=True)
            saved = load_peft_weights(name, device="cpu", revision=revision)
            unknown = sorted(saved.keys() ^ get_peft_model_state_dict(encoder.model).keys())
        if unknown:
            raise InputError(
                f"cannot open the model {name!r}: weights that do not fit its adapter_config.json would be left out, "
                f"or random, such as {unknown[0]!r}"
            )
        check_adapter(encoder.model)
        merge_in_training(encoder.model)
        encoder.train(encoder.training)  # the dropout of a new adapter is in training mode
        encoder._check_embeddings(name)
        return encoder

    def _check_embeddings(self, name: str) -> None:
        """InputError if embeddings are not finite, or the same for any picture."""
        with torch.no_grad(), loading(name):
            inputs, outputs = self._try_forward(2)
            one, other = pool(self.pooling, self.backbone, outputs, inputs)
        if not torch.isfinite(one).all():
            raise InputError(f"the model {name!r} gives embeddings that are not finite: its files are damaged")
        if (one - other).norm() <= SAME * one.norm():
            raise InputError(f"the model {name!r} gives every picture the same embedding: its files are damaged")

    @property
    def backbone(self) -> PreTrainedModel:
        """The vision model itself, without an adapter around it."""
        return cast(PreTrainedModel, self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model)

    @property
    def is_adapter(self) -> bool:
        return isinstance(self.model, PeftModel)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def forward(
        self, pixel_values: Tensor, project: bool = False, images_per_forward: int | None = None, **inputs: Tensor
    ) -> Tensor:
        """Embeddings (B, d) in float32, or (B, projection_dim) with `project`.

        Args:
            pixel_values: (B, 3, H, W), uint8 pixels from `preprocessor.stack` or normalised floats.
            project: send the embedding through the projection head.
            images_per_forward: number of images in a slice of the batch. The forward pass goes slice by slice and
                keeps only the embeddings; the backward pass computes each slice again. The gradients are exact.
            **inputs: other outputs of the image processor (masks and shapes of NaFlex).
        """
        inputs = {"pixel_values": pixel_values, **inputs}
        size = images_per_forward or len(pixel_values)
        if size < len(pixel_values):
            slices = [{k: v[i : i + size] for k, v in inputs.items()} for i in range(0, len(pixel_values), size)]
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
        embeddings = pool(self.pooling, self.backbone, self.model(**inputs), inputs)
        return embeddings if self.transform is None else self.transform(embeddings)

    def embed(self, images: Dataset | ImageReader | Sequence[Picture], **options: Any) -> np.ndarray:
        """Embeddings (n, d) float32 of images; see `hf_alignet.encoder.embedding.embed_dataset` for the options."""
        return embed_dataset(self, images, **options)

    def in_bf16(self) -> "VisionEncoder":
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
        settings = {"model": self.backbone.config.to_dict(), "processor": self.processor.to_dict()}
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

    def train(self, mode: bool = True) -> "VisionEncoder":
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
        pool(self.pooling, self.backbone, outputs, inputs).sum().backward()
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
        config = copy.copy(config)
        config.target_modules = find_targets(self.model, config, self.used_parameters())
        name = type(self.model).__name__
        try:
            self.model = adapted = get_peft_model(self.model, config, revision=self.revision)
            merge_in_training(adapted)
        except ValueError as error:
            raise InputError(f"LoRA does not fit {name}: {error}") from error
        self.train(self.training)
        try:
            with torch.no_grad():
                self._try_forward()
        except AttributeError as error:  # MobileNetV2 pads by the stride of a convolution that PEFT has wrapped
            self.model = cast(PreTrainedModel, adapted.unload())
            raise InputError(
                f"{name} does not run with LoRA on these layers, because it reads their attributes ({error}); train "
                "all weights, without `use_lora`"
            ) from error

    def merge_adapter(self) -> None:
        """Adds the adapter to the weights; the result is a plain model."""
        if isinstance(self.model, PeftModel):
            self.model = cast(PreTrainedModel, self.model.merge_and_unload())

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
                "VisionEncoder.from_pretrained(model, transform=transform)"
            )
        with new_files(directory) as made:
            self.model.save_pretrained(str(made))
            self.processor.save_pretrained(made)
            remove_sentence_files(directory)
            write_sentence_files(self, made, similarity)
            if self.projection is not None:
                save_file(self.projection.state_dict(), made / PROJECTION_FILE)

    def load_weights(self, directory: str | Path) -> None:
        """Loads the weights that `save_pretrained` wrote for the same architecture; InputError if some are missing."""
        directory = Path(directory).expanduser()
        if isinstance(self.model, PeftModel):
            set_peft_model_state_dict(self.model, load_peft_weights(str(directory), device=str(self.device)))
        else:
            with quiet_loading():  # it would report a pooler that was left out
                options: dict[str, Any] = {"dtype": torch.float32, "output_loading_info": True}
                loaded: Any = type(self.model).from_pretrained(directory, **options)
            saved, info = loaded
            if missing := sorted(self.model.state_dict().keys() & set(info["missing_keys"])):
                raise InputError(f"{directory} lacks {len(missing)} weights of the model, the first is {missing[0]!r}")
            self.model.load_state_dict(saved.state_dict())
        if self.projection is not None:
            self.projection.load_state_dict(load_file(directory / PROJECTION_FILE))

    def _try_forward(self, number: int = 1) -> tuple[dict[str, Tensor], Any]:
        """Inputs and outputs for a picture of noise, or for it and a black one, without dropout or changes of batch
        statistics."""
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        pictures = [Image.fromarray(noise), Image.new("RGB", (64, 64))][:number]
        inputs = {k: v.to(self.device) for k, v in self.preprocessor(pictures).items()}
        was_training = self.training
        self.eval()
        outputs = self.model(**inputs)
        self.train(was_training)
        return inputs, outputs
