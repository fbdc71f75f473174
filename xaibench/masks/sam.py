"""Masks of everything by Segment Anything (Kirillov et al. 2023) and SAM 2 (Ravi et al. 2024), through transformers.

The network sees displayed images, as in ObEy (Schulze et al. 2023), whose 224 points a side are one for each of their
224 pixels. Of masks whose boxes overlap more than box_nms_thresh only the best is kept; others may overlap.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from xaibench.datasets.base import Sample
from xaibench.errors import XaibenchError, one_line
from xaibench.masks.maker import Maker, Setting, needed
from xaibench.models.state import file_digest


class Sam(Maker):
    """Segment Anything, prompted by a grid of points.

    Settings: points_per_side of the grid (the side of the displayed image by default), pred_iou_thresh and
    stability_score_thresh that a mask must exceed, as in ObEy; crop_n_layers, 0 for the whole image alone;
    box_nms_thresh.
    """

    name: ClassVar[str] = "sam"
    packages: ClassVar[tuple[str, ...]] = ("transformers",)
    parameters: ClassVar[dict[str, Setting]] = {
        "points_per_side": Setting(None, 1, 1024),
        "pred_iou_thresh": Setting(0.8, 0, 1),
        "stability_score_thresh": Setting(0.8, 0, 1),
        "crop_n_layers": Setting(0, 0, 4),
        "box_nms_thresh": Setting(0.7, 0, 1),
    }
    usual: ClassVar[str] = "facebook/sam-vit-huge"
    kinds: ClassVar[tuple[str, ...]] = ("sam",)  # values of `model_type` in config.json
    network: ClassVar[str] = "SamModel"
    processor: ClassVar[str] = "SamImageProcessor"

    def prepare(self) -> None:
        """Opens the network."""
        transformers = needed("transformers", "sam")
        model = self.tools.model or self.usual
        with _silent(transformers):
            folder = _folder(model, self.tools.download)
            self._generate = self._opened(transformers, folder)
        self.label = f"{self.name} {folder.name if Path(model).is_dir() else model}"
        self.weights = _digest(folder)

    def draw(self, sample: Sample) -> np.ndarray:
        """Masks by their predicted IoU, the best first."""
        import transformers

        settings = self.settings
        with _silent(transformers):
            found = self._generate(
                Image.fromarray(sample.image), points_per_batch=self.tools.chunk,
                points_per_crop=settings["points_per_side"], pred_iou_thresh=settings["pred_iou_thresh"],
                stability_score_thresh=settings["stability_score_thresh"], crops_n_layers=settings["crop_n_layers"],
                crops_nms_thresh=settings["box_nms_thresh"],
            )["masks"]  # fmt: skip
        nothing = np.zeros((0, self.side, self.side), dtype=bool)
        return np.concatenate([nothing, *(np.asarray(mask, dtype=bool)[None] for mask in found)])

    def _opened(self, transformers: Any, folder: Path) -> Any:
        """The pipeline of a folder's network; raises XaibenchError for another kind of network, or where weights are
        missing."""
        try:
            config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
            if config.model_type not in self.kinds:
                raise XaibenchError(f"--model {folder} is a network of kind {config.model_type}, not {self.name}")
            network, notes = getattr(transformers, self.network).from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
            processor = getattr(transformers, self.processor).from_pretrained(folder, local_files_only=True)
        except XaibenchError:
            raise
        except Exception as error:  # transformers raises many kinds for files that it cannot use
            raise XaibenchError(f"--model {folder} cannot be opened as {self.name}: {one_line(error, 200)}") from error
        missing = sorted({*notes["missing_keys"], *(name for name, *_ in notes["mismatched_keys"])})
        if missing:
            raise XaibenchError(f"--model {folder} has no fitting weights for {missing[0]} ({len(missing)} in all)")
        return transformers.pipeline(
            "mask-generation", model=network.eval(), image_processor=processor, device=self.tools.device
        )


class Sam2(Sam):
    """SAM 2, prompted in the same way; the paper used the first version."""

    name: ClassVar[str] = "sam2"
    usual: ClassVar[str] = "facebook/sam2.1-hiera-large"
    kinds: ClassVar[tuple[str, ...]] = ("sam2", "sam2_video")
    network: ClassVar[str] = "Sam2Model"
    processor: ClassVar[str] = "Sam2ImageProcessor"


def _folder(model: str, download: bool) -> Path:
    """The folder with a network: a given folder, or that of a name in the Hub's cache, fetched where this is
    allowed."""
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        found = snapshot_download(model, allow_patterns=["*.json", "*.safetensors"], local_files_only=not download)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        if not download:
            raise XaibenchError(
                f"the network {model} is not on this machine: allow it to be fetched by --download, or name its folder "
                "by --model; without one, --with slic makes superpixels"
            ) from error
        raise XaibenchError(f"cannot download {model}: {one_line(error, 200)}") from error
    return Path(found)


def _digest(folder: Path) -> str:
    """The digest of a folder's weights: that of its file, or of those of its files."""
    digests = [file_digest(path) for path in sorted(folder.glob("*.safetensors"))]
    return digests[0] if len(digests) == 1 else hashlib.blake2b(" ".join(digests).encode(), digest_size=10).hexdigest()


@contextmanager
def _silent(transformers: Any) -> Iterator[None]:
    """Turns off progress bars and messages of transformers, which would be mixed with those of xaibench."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
