"""PyTorch's ways to make augmented batches of JPEGs: what tests/bench/loader.py compares `mien bench loader` with.

    python loader.py DIR --pipeline torchvision|pil|pil-v2|timm [--workers N] [--size 192]

Prints "ready"; then each line read is a number of seconds, and the answer is one line, pictures a second. DIR holds the
JPEGs that `mien bench loader --write DIR` wrote. Their bytes are in memory beforehand, as there: what is measured is
decode, random resized crop (0.67..1, bilinear, antialiased), flip, float and normalisation, in batches of 32.
torchvision: its decoder and transforms.v2 on tensors; pil: Pillow and the first transforms; pil-v2: Pillow, then tensors;
timm: its transforms for rand-m9-inc1 (with mstd0.5 they fail under Pillow 13), bicubic, random erasing of a quarter.
"""

import argparse
import glob
import io
import os
import sys
import time

import torch
from PIL import Image
from torchvision import transforms as v1
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import v2

BATCH = 32
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CROP = {"scale": (0.67, 1.0), "ratio": (3 / 4, 4 / 3)}


def on_tensors(size):
    return v2.Compose([v2.RandomResizedCrop(size, antialias=True, **CROP), v2.RandomHorizontalFlip(0.5),
                       v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])


def torchvision_pipeline(size):
    change = on_tensors(size)
    return lambda stored: change(decode_jpeg(stored, mode=ImageReadMode.RGB))


def pil_pipeline(size):
    change = v1.Compose([v1.RandomResizedCrop(size, **CROP), v1.RandomHorizontalFlip(0.5), v1.ToTensor(),
                         v1.Normalize(MEAN, STD)])
    return lambda stored: change(Image.open(io.BytesIO(stored.numpy())).convert("RGB"))


def pil_v2_pipeline(size):
    change = v2.Compose([v2.PILToTensor(), on_tensors(size)])
    return lambda stored: change(Image.open(io.BytesIO(stored.numpy())).convert("RGB"))


def timm_pipeline(size):
    from timm.data import create_transform
    change = create_transform(size, is_training=True, scale=CROP["scale"], ratio=CROP["ratio"], interpolation="bicubic",
                              auto_augment="rand-m9-inc1", re_prob=0.25, re_mode="pixel")
    return lambda stored: change(Image.open(io.BytesIO(stored.numpy())).convert("RGB"))


PIPELINES = {"torchvision": torchvision_pipeline, "pil": pil_pipeline, "pil-v2": pil_v2_pipeline, "timm": timm_pipeline}


class Pictures(torch.utils.data.Dataset):
    def __init__(self, folder, pipeline, size):
        self.size = size
        files = sorted(glob.glob(os.path.join(folder, "*.jpg")))
        if not files:
            raise SystemExit(f"{folder}: no .jpg files")
        self.stored = [torch.frombuffer(bytearray(open(f, "rb").read()), dtype=torch.uint8) for f in files]
        self.pipeline = pipeline

    def __len__(self):
        return 1 << 40  # the loader is asked for as long as the clock says

    def __getitem__(self, i):
        return self.pipeline(self.stored[i % len(self.stored)])


def in_process(data):
    """One after the other into memory that is used again: stacked new tensors cost PyTorch a third of its speed."""
    at, batch = 0, torch.empty(BATCH, 3, data.size, data.size)
    while True:
        for i in range(BATCH):
            batch[i].copy_(data[at + i])
        yield batch
        at += BATCH


class Order(torch.utils.data.Sampler):
    """A shuffled pass over the pictures, again and again: a permutation of 2^40 numbers would not fit."""

    def __init__(self, n):
        self.n = n

    def __iter__(self):
        while True:
            yield from torch.randperm(self.n).tolist()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder")
    p.add_argument("--pipeline", choices=PIPELINES, default="torchvision")
    p.add_argument("--workers", type=int, default=0)
    p.add_argument("--size", type=int, default=192)
    options = p.parse_args()
    torch.set_num_threads(1)
    data = Pictures(options.folder, PIPELINES[options.pipeline](options.size), options.size)
    if options.workers:
        batches = iter(torch.utils.data.DataLoader(data, BATCH, sampler=Order(len(data.stored)), drop_last=True,
                                                   num_workers=options.workers, persistent_workers=True))
    else:
        batches = in_process(data)
    with torch.inference_mode():
        next(batches)
        print("ready", flush=True)
        for line in sys.stdin:
            rows, began = 0, time.perf_counter()
            while time.perf_counter() - began < float(line):
                rows += len(next(batches))
            print(f"{rows / (time.perf_counter() - began):.1f}", flush=True)


if __name__ == "__main__":
    main()
