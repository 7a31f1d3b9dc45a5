"""What a model finds similar, before and after alignment. Name your models and pictures here, by their Hub ids."""

from hf_alignet.cli.demo import main as align_demo
from hf_alignet.cli.explore import main as explore

BASE = None  # such as "facebook/dinov2-base"
ALIGNED = None  # such as "user/dinov2-base-aligned"
IMAGES = None  # an image dataset that everybody may see
JUDGMENTS = None  # people's choices about these images

if IMAGES is None:
    align_demo([])  # emoji: two minutes, and nothing is downloaded
named = {"base": BASE, "aligned": ALIGNED, "images": IMAGES, "judgments": JUDGMENTS}
explore(
    ["--host=0.0.0.0", "--port=7860", *(f"--{name}={given}" for name, given in named.items() if given is not None)]
)
