"""Goldens of the losses: value and gradient to the logits by PyTorch's own functions and autograd, in fp64.

    python losses.py

SimMIM's loss and CCC have no PyTorch function: they are composed here from their definitions.
"""

import os

import torch
import torch.nn.functional as F

import golden

HERE = os.path.dirname(os.path.abspath(__file__))
ROWS, CLASSES = 37, 7


def run(stored, name, loss, x):
    stored[name] = loss.detach().reshape(1)
    (stored[f"grad.{name}"],) = torch.autograd.grad(loss, x)


def leaf(name, *shape):
    return golden.tensor(name, *shape).double().requires_grad_()


def cross_entropy(stored):
    z = leaf("input.logits", ROWS, CLASSES)
    index = golden.tensor("input.class", ROWS, CLASSES).argmax(1)
    soft = golden.soft_targets("input.soft", ROWS, CLASSES).double()
    valid = golden.binary("input.valid", ROWS, share=0.7) > 0
    weights = 1.0 + 0.5 * torch.arange(CLASSES, dtype=torch.float64)
    run(stored, "ce.plain", F.cross_entropy(z, index), z)
    run(stored, "ce.valid", F.cross_entropy(z[valid], index[valid]), z)
    run(stored, "ce.weighted", F.cross_entropy(z[valid], index[valid], weight=weights), z)
    run(stored, "ce.smooth", F.cross_entropy(z[valid], index[valid], weight=weights, label_smoothing=0.1), z)
    run(stored, "ce.soft", F.cross_entropy(z, soft), z)
    run(stored, "ce.soft_smooth", F.cross_entropy(z[valid], soft[valid], label_smoothing=0.2), z)
    big = leaf("input.logits", ROWS, CLASSES)
    run(stored, "ce.large", F.cross_entropy(256.0 * big, index), big)


def binary(stored):
    z = leaf("input.logits", ROWS, CLASSES)
    y = golden.binary("input.labels", ROWS, CLASSES).double()
    element = golden.binary("input.valid_elements", ROWS, CLASSES, share=0.6) > 0
    row = golden.binary("input.valid", ROWS, share=0.7) > 0
    run(stored, "bce.plain", F.binary_cross_entropy_with_logits(z, y), z)
    run(stored, "bce.elements", F.binary_cross_entropy_with_logits(z[element], y[element]), z)
    run(stored, "bce.rows", F.binary_cross_entropy_with_logits(z[row], y[row]), z)
    big = leaf("input.logits", ROWS, CLASSES)
    run(stored, "bce.large", F.binary_cross_entropy_with_logits(256.0 * big, y), big)


def ccc(x, y):
    mx, my = x.mean(), y.mean()
    covariance = ((x - mx) * (y - my)).mean()
    return 2 * covariance / (x.var(unbiased=False) + y.var(unbiased=False) + (mx - my) ** 2)


def concordance(stored):
    x = leaf("input.va", ROWS, 2)
    y = golden.tensor("input.va_target", ROWS, 2).double()
    row = golden.binary("input.valid", ROWS, share=0.7) > 0
    run(stored, "ccc.plain", sum(1 - ccc(x[:, k], y[:, k]) for k in range(2)), x)
    run(stored, "ccc.rows", sum(1 - ccc(x[row, k], y[row, k]) for k in range(2)), x)


def masked_l1(stored):
    batch, height, width, cell, patch = 3, 16, 24, 8, 4
    cells = (height // cell, width // cell)
    pred = leaf("input.pred", batch, cells[0] * cells[1], 3 * cell * cell)
    image = golden.tensor("input.image", batch, height, width, 3).double()
    mask = golden.binary("input.mask", batch, height // patch, width // patch, share=0.6).double()
    grid = pred.transpose(1, 2).reshape(batch, 3 * cell * cell, *cells)
    restored = F.pixel_shuffle(grid, cell)
    pixels = mask.repeat_interleave(patch, 1).repeat_interleave(patch, 2).unsqueeze(1)
    error = F.l1_loss(image.permute(0, 3, 1, 2), restored, reduction="none")
    run(stored, "l1.plain", (error * pixels).sum() / (pixels.sum() + 1e-5) / 3, pred)


def main():
    stored = {}
    for part in (cross_entropy, binary, concordance, masked_l1):
        part(stored)
    golden.save(os.path.join(HERE, "losses.safetensors"), stored, {}, {}, False)


if __name__ == "__main__":
    main()
