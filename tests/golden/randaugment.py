"""Goldens of the operations on 8-bit pictures: timm's RandAugment (rand-m9-mstd0.5-inc1) at given magnitudes, torchvision's
rotate and affine on Pillow pictures, and the boxes of timm's random erasing and cutmix.

    python randaugment.py
"""

import os
import random
from unittest import mock

import numpy as np
import PIL
import timm
import torch
import torchvision
from PIL import Image
from safetensors.numpy import save_file
from timm.data import auto_augment, mixup, random_erasing
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from augment import picture

HERE = os.path.dirname(os.path.abspath(__file__))
WIDTH, HEIGHT = 28, 24
MAGNITUDES = (3.3, 9.4, 10)
FILL = (124, 116, 104)
FILTERS = {"bilinear": (Image.Resampling.BILINEAR, InterpolationMode.BILINEAR),
           "bicubic": (Image.Resampling.BICUBIC, InterpolationMode.BICUBIC)}
AFFINES = {"turn": (37.0, (0, 0), 1.0, (0.0, 0.0)), "move": (0.0, (4, -3), 1.0, (0.0, 0.0)),
           "zoom": (0.0, (0, 0), 0.8, (0.0, 0.0)), "slant": (0.0, (0, 0), 1.0, (12.0, 0.0)),
           "all": (-21.0, (-2, 5), 1.25, (-9.0, 0.0))}
# share of the area, ratio as a share of its logarithmic range, top and left as shares of what is possible
ERASED = [(0.02, 0.5, 0.0, 0.0), (0.2, 0.1, 0.5, 0.9), (1 / 3, 0.6, 0.99, 0.2), (0.3, 0.5, 0.3, 0.7)]
CUTS = [(0.9, 3, 4), (0.5, 13, 15), (0.25, 23, 0), (0.02, 20, 7), (1.0, 5, 5)]  # lambda, row and column of the centre


def plain():
    """The picture of augment.py without its darkest and brightest values, so that stretching does something."""
    return Image.fromarray((30 + picture(WIDTH, HEIGHT).astype(int) * 3 // 5).astype(np.uint8))


def operations(stored):
    signed = {"Rotate", "ColorIncreasing", "ContrastIncreasing", "BrightnessIncreasing", "SharpnessIncreasing", "ShearX",
              "ShearY", "TranslateXRel", "TranslateYRel"}
    moved = {"Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel"}
    for name in auto_augment._RAND_INCREASING_TRANSFORMS:
        # Pillow no longer keeps 0 bits, which is what magnitude 10 asks for.
        for magnitude in MAGNITUDES[:2] if name == "PosterizeIncreasing" else MAGNITUDES:
            for negative in (0, 1) if name in signed else (0,):
                for filter_name, (pillow, _) in FILTERS.items() if name in moved else [("bilinear", FILTERS["bilinear"])]:
                    op = auto_augment.AugmentOp(name, prob=1.0, magnitude=magnitude,
                                                hparams={"img_mean": FILL, "interpolation": pillow})
                    with mock.patch.object(random, "random", lambda: 0.9 if negative else 0.1):
                        out = op(plain())
                    stored[f"{name}.{magnitude}.{negative}.{filter_name}"] = np.asarray(out)


def affines(stored):
    for name, (angle, move, zoom, shear) in AFFINES.items():
        for filter_name, (_, mode) in FILTERS.items():
            out = F.affine(plain(), angle, list(move), zoom, list(shear), interpolation=mode)
            stored[f"affine.{name}.{filter_name}"] = np.asarray(out)
    for filter_name, (_, mode) in FILTERS.items():
        stored[f"rotate.{filter_name}"] = np.asarray(F.rotate(plain(), 25.0, interpolation=mode))


def boxes(stored):
    rows = []
    for share, ratio, top, left in ERASED:
        def draw(low, high, given=iter((share, ratio))):
            value = next(given)
            return value if low > 0 else low + value * (high - low)
        erase = random_erasing.RandomErasing(probability=1, device="cpu")
        image = torch.ones(3, HEIGHT, WIDTH)
        places = iter((top, left))
        with mock.patch.object(random, "uniform", draw), \
                mock.patch.object(random, "randint", lambda low, high: int(next(places) * (high - low + 1))):
            erase(image)
        gone = np.argwhere(image[0].numpy() == 0)
        (y, x), (bottom, right) = gone.min(0), gone.max(0) + 1
        rows.append([share, ratio, top, left, y, x, bottom - y, right - x])
    stored["erase"] = np.array(rows, np.float32)
    rows = []
    for share, y, x in CUTS:
        centre = iter((y, x))
        with mock.patch.object(np.random, "randint", lambda low, high, size=None: next(centre)):
            box, corrected = mixup.cutmix_bbox_and_lam((1, 3, HEIGHT, WIDTH), share)
        rows.append([share, y, x, *box, corrected])
    stored["cut"] = np.array(rows, np.float32)


def main():
    stored = {}
    operations(stored)
    affines(stored)
    boxes(stored)
    versions = {"timm": timm.__version__, "torchvision": torchvision.__version__, "pillow": PIL.__version__}
    save_file(stored, os.path.join(HERE, "randaugment.safetensors"), metadata=versions)


if __name__ == "__main__":
    main()
