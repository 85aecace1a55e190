"""Goldens of the CCA-Transformer: the released form against its public code, the paper's form against Eqs. 1-7.

    git clone https://github.com/namho-96/ABAW2024
    git -C ABAW2024 checkout b2fb5ada3897151c13eafff0832e45ef04e53aef
    python cca.py ABAW2024 [--full]
"""

import argparse
import importlib.util
import os
import types

import torch
import torch.nn as nn
import torch.nn.functional as F
import golden

COMMIT = "b2fb5ada3897151c13eafff0832e45ef04e53aef"
HERE = os.path.dirname(os.path.abspath(__file__))

# width, heads, hidden of the VA head, batch, frames
# Enough frames that the public loss, which divides by N - 1, agrees with the population form to the tolerance.
SMALL = (16, 2, (12, 8, 6), 8, 100)
FULL = (768, 8, (256, 128, 64), 8, 100)
OUTPUTS = {"va": 1, "expr": 8, "au": 12}  # the released VA head makes one per branch


def name_of(key):
    return None if key.endswith("num_batches_tracked") else "cca." + key


def load(checkout, path):
    spec = importlib.util.spec_from_file_location(os.path.basename(path)[:-3], os.path.join(checkout, path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_released(module, case, task):
    width, heads, hidden, batch, frames = case
    config = types.SimpleNamespace(
        hidden_size=hidden, model_arch=["self", "mix", "forward", "neck", "head"], batch_size=batch, sq_len=frames,
        num_features=width, num_head=heads, dropout=0.0, droppath=0.0, num_classes=OUTPUTS[task], task=task)
    model = module.DeepMixAttention3(config).train()
    golden.fill(model, name_of)
    return model


class Paper(nn.Module):
    """Eqs. 1-7 on the layers of the released module: standard residual blocks with the norm at the branch's output."""

    def __init__(self, released):
        super().__init__()
        self.layers = released.layers

    @staticmethod
    def block(layer, q, kv=None):
        attended = layer.attn(q) if kv is None else layer.attn([q, kv])
        a = q + layer.norm1(attended)
        return a + layer.norm2(layer.mlp(a))

    def forward(self, image, audio):
        layer, block = self.layers, self.block
        self_image, self_audio = block(layer[0], image), block(layer[1], audio)
        cross_image = block(layer[2], audio, image)
        cross_audio = block(layer[3], image, audio)
        cross_image = block(layer[4], self_image, cross_image)
        cross_audio = block(layer[5], self_audio, cross_audio)
        return layer[7](block(layer[6].transformer, 0.7 * cross_image + 0.3 * cross_audio))


def step_of(losses, case, task):
    width, _, _, batch, frames = case

    def step(model, dtype):
        image = golden.tensor("input.image", batch, frames, width).to(dtype)
        audio = golden.tensor("input.audio", batch, frames, width).to(dtype)
        y = model(image, audio)
        with torch.autocast("cpu", enabled=False):
            if task == "va":
                label = golden.tensor("input.va", batch, frames, 2).to(dtype) / 3.0**0.5
                y = [v.to(dtype) for v in y]
                loss = losses.VA_loss(y[0], y[1], label)[0]
                y = torch.cat(y, -1)
            elif task == "au":
                y = y.to(dtype)
                loss = F.binary_cross_entropy(y, golden.binary("input.au", *y.shape, share=0.3).to(dtype))
            else:
                y = y.to(dtype)
                target = golden.soft_targets("input.expr", *y.shape).to(dtype)
                loss = F.cross_entropy(y.reshape(-1, 8), target.reshape(-1, 8))
        loss.backward()
        outputs = {"loss": loss.detach(), "y": y.detach()}
        for key, value in model.state_dict().items():
            if "running_" in key:
                outputs[name_of(key)] = value.detach()
        return outputs, golden.gradients(model, name_of)

    return step


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkout", help="checkout of namho-96/ABAW2024 at " + COMMIT)
    parser.add_argument("--full", action="store_true", help="published sizes as well")
    args = parser.parse_args()
    golden.check_commit(args.checkout, COMMIT)
    golden.shim_timm()
    module = load(args.checkout, "models/custom_transformer/dma3.py")
    losses = load(args.checkout, "utils/loss.py")

    for size, case in {"small": SMALL, **({"full": FULL} if args.full else {})}.items():
        for form in "released", "paper":
            for task in OUTPUTS:
                make = lambda: make_released(module, case, task)
                if form == "paper":
                    make = lambda: Paper(make_released(module, case, task))
                outputs, grads, errors = golden.run_both(make, step_of(losses, case, task))
                path = os.path.join(HERE, f"cca_{size}_{form}_{task}.safetensors")
                golden.save(path, outputs, grads, errors, size == "full")


if __name__ == "__main__":
    main()
