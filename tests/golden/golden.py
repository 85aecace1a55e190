"""What the golden scripts share: closed-form weights and inputs, and how results are stored. README.md defines both.

tests/nn/golden_support.c is the same in C.
"""

import hashlib
import math
import os
import sys
import types

import numpy as np
import torch
from safetensors.numpy import save_file

MASK = (1 << 64) - 1
GRADIENT_PROJECTIONS = 4
OUTPUT_PROJECTIONS = 64
MAX_BYTES = 256 * 1024


def fnv1a64(name):
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) & MASK
    return h


def uniform(name, count):
    """count numbers in [-1, 1), exact in fp32, from the name and the flat index alone (float64)."""
    with np.errstate(over="ignore"):
        z = np.uint64(fnv1a64(name)) + np.arange(count, dtype=np.uint64)
        z = z + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) * 2.0**-23 - 1.0


def kind(name, shape):
    """(centre, amplitude) of a tensor."""
    if name.startswith("input.") or name.startswith("projection."):
        return 0.0, math.sqrt(3.0)
    if name.endswith("relative_position_bias_table") or name.endswith("mask_token"):
        return 0.0, 0.5
    if name.endswith(".weight_g"):
        return 1.0, 0.1
    if name.endswith(".running_var"):
        return 1.0, 0.5
    if len(shape) == 1 and name.endswith(".weight"):
        return 1.0, 0.1
    if len(shape) <= 1:
        return 0.0, 0.1
    return 0.0, math.sqrt(3.0 / (math.prod(shape) / shape[0]))


def values(name, shape):
    centre, amplitude = kind(name, shape)
    flat = centre + amplitude * uniform(name, math.prod(shape))
    return flat.astype(np.float32).reshape(shape)


def tensor(name, *shape):
    return torch.from_numpy(values(name, shape))


def soft_targets(name, *shape):
    """Rows of positive numbers that add up to 1."""
    t = (uniform(name, math.prod(shape)) + 1.0).reshape(shape)
    return torch.from_numpy((t / t.sum(-1, keepdims=True)).astype(np.float32))


def binary(name, *shape, share=0.5):
    """1 with probability `share`, else 0."""
    return torch.from_numpy((uniform(name, math.prod(shape)) < 2.0 * share - 1.0).astype(np.float32).reshape(shape))


def shim_timm():
    """The public repositories import a module that current timm has moved."""
    import timm.layers

    module = types.ModuleType("timm.models.layers")
    for name in ("DropPath", "to_2tuple", "trunc_normal_"):
        setattr(module, name, getattr(timm.layers, name))
    sys.modules["timm.models.layers"] = module


def check_commit(checkout, commit):
    import subprocess

    head = subprocess.run(["git", "-C", checkout, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    if head != commit:
        sys.exit(f"{checkout}: is at {head or 'no commit'}; these goldens are of {commit}")


def fill(model, name_of):
    """Sets every parameter and float buffer of model to its closed form. name_of: reference key -> our name or None."""
    with torch.no_grad():
        for key, value in model.state_dict().items():
            name = name_of(key)
            if name is not None:
                value.copy_(tensor(name, *value.shape))


def gradients(model, name_of):
    return {name_of(k): p.grad.detach() for k, p in model.named_parameters() if p.grad is not None and name_of(k)}


def relative(a, b):
    return float((a.double() - b.double()).norm() / b.double().norm())


def run_both(make, step):
    """The fp64 result of the reference, and how far PyTorch's bf16 autocast is from it.

    make() -> fp32 model. step(model, dtype) -> (dict of outputs, dict of gradients).
    """
    outputs, grads = step(make().double(), torch.float64)
    with torch.autocast("cpu", torch.bfloat16):
        cast_outputs, cast_grads = step(make(), torch.float32)
    errors = {f"autocast.{k}": relative(cast_outputs[k], v) for k, v in outputs.items()}
    if grads:
        total = math.sqrt(sum(float(v.double().square().sum()) for v in grads.values()))
        error = math.sqrt(sum(float((cast_grads[k].double() - v).square().sum()) for k, v in grads.items()))
        errors["autocast.grad"] = error / total
    return outputs, grads, errors


def project(name, value, projections):
    """L2 norm and pseudo-random projections of a large tensor, fp64 sums."""
    flat = value.detach().double().reshape(-1).numpy()
    row = [np.linalg.norm(flat)]
    for k in range(projections):
        r = values(f"projection.{k}.{name}", (flat.size,)).astype(np.float64)
        row.append(flat @ r)
    return np.array(row, dtype=np.float32)


def save(path, outputs, grads, errors, full_size):
    """Gradients whole, or projected at full size; outputs whole up to 64 KiB, else projected."""
    stored = {}
    for name, value in outputs.items():
        if value.numel() * 4 > 64 * 1024:
            stored[f"project.{name}"] = project(name, value, OUTPUT_PROJECTIONS)
        else:
            stored[name] = value.detach().float().reshape(value.shape or (1,)).contiguous().numpy()
    for name, value in grads.items():
        if full_size:
            stored[f"project.grad.{name}"] = project(f"grad.{name}", value, GRADIENT_PROJECTIONS)
        else:
            stored[f"grad.{name}"] = value.float().contiguous().numpy()
    for name, value in errors.items():
        stored[name] = np.array([value], dtype=np.float32)
    save_file(stored, path, metadata={"torch": torch.__version__})
    size = os.path.getsize(path)
    print(f"{os.path.basename(path)}: {size} bytes, {hashlib.sha256(open(path, 'rb').read()).hexdigest()[:12]}")
    for name, value in errors.items():
        print(f"    {name} {value:.3e}")
    if size > MAX_BYTES:
        sys.exit(f"{path}: over {MAX_BYTES} bytes")
