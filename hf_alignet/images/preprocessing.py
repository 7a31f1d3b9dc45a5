"""Turns pictures into the tensors that a model takes.

The image processor of a checkpoint resizes and crops, so the pixels are like those that the model was trained on.
Rescaling and normalising are done in torch on the stacked uint8 batch, where they cost almost nothing.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from torch import Tensor

from hf_alignet.errors import InputError

MAX_RESIZED_PIXELS = 178_956_970  # as many as Pillow reads
NORMALIZATION = {"do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std"}


class Preprocessor:
    """Turns pictures into inputs in two steps: `stack` on the CPU or in a worker process, `normalize` on the device.

    Together they equal `processor(pictures)`, which is checked once on random pictures. Some processors do more than
    resize, crop, rescale and normalise (NaFlex patches, extra statistics); `stack` then calls the whole processor.
    Most resize by Pillow, but first copy whole pictures three times; where the pixels are the same without, we resize.
    """

    def __init__(self, processor: transformers.BaseImageProcessor):
        self.processor = processor
        self.stacks_uint8, self.resizes = True, False
        settings = processor.to_dict()
        # The length that the shorter edge is resized to, whatever the longer one becomes; 0 for another kind of size
        size = (settings.get("size") if settings.get("do_resize") else None) or {}
        for edge, length in {**size, **(settings.get("crop_size") or {})}.items():
            if (length or 0) ** 2 > MAX_RESIZED_PIXELS:  # it would fill the memory, and the process would be killed
                raise InputError(f"the image processor makes pictures with {edge} {length}, more than any model takes")
        self.shortest_edge = 0 if size.get("longest_edge") else size.get("shortest_edge") or 0
        # The length that both edges, or the shorter one, are resized to; 0 if that is not known
        self.shrunk_edge = 0 if size.get("longest_edge") else max((length or 0 for length in size.values()), default=0)
        scale = settings["rescale_factor"] if settings.get("do_rescale") else 1.0
        mean, std = [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]
        if settings.get("do_normalize"):
            mean, std = settings["image_mean"], settings["image_std"]
        # (uint8 * scale - mean) / std as one multiplication and one addition
        self.scale = torch.tensor([scale / s for s in std]).view(1, -1, 1, 1)
        self.shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)]).view(1, -1, 1, 1)
        self._constants: dict[torch.device, tuple[Tensor, Tensor]] = {}
        self.stacks_uint8 = self._equals_processor()
        self.size = {edge: length for edge, length in size.items() if length}
        self.resample = settings.get("resample")
        self.resizes = self.stacks_uint8 and self._resizes_equally()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_constants": {}}  # worker processes have no device

    def __call__(self, pictures: list[Image.Image]) -> dict[str, Tensor]:
        return self.normalize(self.stack(pictures))

    def stack(self, pictures: list[Image.Image]) -> dict[str, Tensor]:
        """`{"pixel_values": (B, 3, H, W) uint8}`, or the whole output of a processor that does more."""
        steps: dict[str, Any] = {"do_rescale": False, "do_normalize": False} if self.stacks_uint8 else {}
        if self.resizes:
            pictures, steps["do_resize"] = [self._resize(picture) for picture in pictures], False
        return dict(self.processor(pictures, return_tensors="pt", **steps))

    def settings(self) -> dict[str, Any]:
        """What the output of `stack` depends on, as JSON can hold it. It leaves uint8 pixels without normalisation."""
        ignored = NORMALIZATION if self.stacks_uint8 else set()
        settings = {k: v for k, v in self.processor.to_dict().items() if k not in ignored}
        return json.loads(json.dumps({"class": type(self.processor).__name__, **settings}, default=str))

    def describe(self) -> dict[str, Any]:
        """All settings."""
        return self.processor.to_dict()

    def check_size(self, picture: Image.Image, row: int) -> None:
        """InputError for a picture that is so long that it would fill the memory when its shorter edge is resized."""
        pixels = round(self.shortest_edge**2 * max(picture.size) / min(picture.size))
        if pixels > MAX_RESIZED_PIXELS:
            raise InputError(
                f"image row {row} of {picture.width} x {picture.height} pixels is too long: resized to a shorter edge "
                f"of {self.shortest_edge} it would have {pixels} pixels, more than {MAX_RESIZED_PIXELS}; crop it"
            )

    def normalize(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Float32 inputs on the same device. Inputs other than uint8 pixels come back as they are."""
        pixels = inputs["pixel_values"]
        if pixels.dtype != torch.uint8:
            return inputs
        scale, shift = self._constants_on(pixels.device)
        return {**inputs, "pixel_values": torch.addcmul(shift, pixels.float(), scale)}

    def _constants_on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """They stay there: a copy would wait for all that the device has still to do."""
        if device not in self._constants:
            with torch.inference_mode(False):  # they are for training, too
                self._constants[device] = self.scale.to(device), self.shift.to(device)
        return self._constants[device]

    def _resize(self, picture: Image.Image) -> Image.Image:
        if edge := self.shortest_edge:
            width, height = (int(edge * length / min(picture.size)) for length in picture.size)
        else:
            width, height = self.size["width"], self.size["height"]
        return picture.resize((width, height), self.resample)

    def _resizes_equally(self) -> bool:
        """Whether `_resize` does what the processor does, which may have steps of its own."""
        if self.size.keys() not in ({"shortest_edge"}, {"height", "width"}):
            return False
        longest = max(self.size.values()) + 200
        pictures = [_noise(longest, longest * 3 // 4), _noise(60, 83)]
        expected = [self.stack([picture])["pixel_values"] for picture in pictures]
        self.resizes = True
        found = [self.stack([picture])["pixel_values"] for picture in pictures]
        return all(map(torch.equal, found, expected))

    def _equals_processor(self) -> bool:
        picture = _noise(96, 80)
        whole = self.processor([picture], return_tensors="pt")
        if set(whole) != {"pixel_values"}:
            return False
        stacked = self.stack([picture])
        is_uint8 = stacked["pixel_values"].dtype == torch.uint8
        return is_uint8 and torch.allclose(self.normalize(stacked)["pixel_values"], whole["pixel_values"], atol=1e-5)


def _noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def load_processor(name_or_path: str, **kwargs: Any) -> transformers.BaseImageProcessor:
    """The image processor of a checkpoint, also if its own class needs torchvision, which may not be installed.

    Raises:
        InputError: the checkpoint has no image processor.
    """
    try:
        return transformers.AutoImageProcessor.from_pretrained(name_or_path, **kwargs)
    except ImportError:
        # DINOv3 has no class for Pillow, but that of ViT reads the same configuration (size, mean, std, resample)
        return transformers.ViTImageProcessorPil.from_pretrained(name_or_path, **kwargs)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{name_or_path!r} has no usable preprocessor_config.json, so its image size and normalisation are "
            f"unknown; save the right image processor beside the model ({error})"
        ) from error
