"""Goldens of the picture pipeline: torchvision's resized crops, evaluation crop and colour adjustments, on floats.

    python augment.py
"""

import os

import numpy as np
import torch
from safetensors.numpy import save_file
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
WIDTH, HEIGHT, SIZE = 50, 40, 24
BOXES = {"down": (5, 3, 37, 29), "up": (10, 4, 13, 17), "whole": (0, 0, 50, 40), "corner": (38, 31, 12, 9)}
FILTERS = {"bilinear": v2.InterpolationMode.BILINEAR, "bicubic": v2.InterpolationMode.BICUBIC}
ORDERS = ["0123", "3210", "2031", "1302"]
FACTORS = (1.3, 0.7, 1.4, 0.13)


def picture(width, height):
    """u8 (height, width, 3) in a closed form: smooth slopes and a texture."""
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    return ((x * 7 + y * 3 * (c + 1) + c * 50 + (x * y) % 23 * 5) % 256).astype(np.uint8)


def planes(width, height):
    return torch.from_numpy(picture(width, height)).permute(2, 0, 1).double() / 255


def rows(t):
    return t.permute(1, 2, 0).contiguous().numpy().astype(np.float32)


def jitter(t, order):
    adjust = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
    for step in order:
        t = adjust[int(step)](t, FACTORS[int(step)])
    return t


def main():
    stored = {}
    image = planes(WIDTH, HEIGHT)
    for name, mode in FILTERS.items():
        for box, (x, y, w, h) in BOXES.items():
            t = F.resized_crop(image, y, x, h, w, [SIZE, SIZE], interpolation=mode, antialias=True)
            stored[f"{name}.{box}"] = rows(t.clamp(0, 1))
        for share in (0.875, 1.0):
            resized = F.resize(image, [int(SIZE / share)], interpolation=mode, antialias=True)
            stored[f"{name}.centre{share}"] = rows(F.center_crop(resized, [SIZE, SIZE]).clamp(0, 1))
    for order in ORDERS:
        stored[f"jitter.{order}"] = rows(jitter(planes(16, 16), order))
    save_file(stored, os.path.join(HERE, "augment.safetensors"), metadata={"torch": torch.__version__})


if __name__ == "__main__":
    main()
