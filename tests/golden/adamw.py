"""Goldens of the optimiser: parameters and moments after 12 updates of torch.optim.AdamW with parameter groups, a changing
learning rate and clipping by the global norm, in fp32.

    python adamw.py
"""

import os

import torch

import golden

HERE = os.path.dirname(os.path.abspath(__file__))
UPDATES, CLIP = 12, 5.0
# name, shape, weight decay, layer (of 3) for layer-wise decay 0.7
PARAMETERS = [
    ("first.weight", (37, 230), 0.05, 0),
    ("first.bias", (37,), 0.0, 0),
    ("second.weight", (8, 37), 0.05, 2),
    ("norm.weight", (5,), 0.0, 3),
]


def main():
    tensors = {name: golden.tensor(name, *shape).requires_grad_() for name, shape, _, _ in PARAMETERS}
    groups = [
        {"params": [tensors[name]], "weight_decay": decay, "scale": 0.7 ** (3 - layer)}
        for name, _, decay, layer in PARAMETERS
    ]
    optimiser = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.95), eps=1e-8)
    norms = []
    for update in range(UPDATES):
        for name, shape, _, _ in PARAMETERS:
            scale = 1.0 if update % 3 else 0.02
            tensors[name].grad = scale * golden.tensor(f"input.grad.{update}.{name}", *shape)
        norms.append(torch.nn.utils.clip_grad_norm_(tensors.values(), CLIP))
        for group in optimiser.param_groups:
            group["lr"] = 1e-2 * (1 + update) * group["scale"]
        optimiser.step()
    stored = {"norms": torch.stack(norms)}
    for name, value in tensors.items():
        state = optimiser.state[value]
        stored[name] = value
        stored[f"m.{name}"] = state["exp_avg"]
        stored[f"v.{name}"] = state["exp_avg_sq"]
    golden.save(os.path.join(HERE, "adamw.safetensors"), stored, {}, {}, False)


if __name__ == "__main__":
    main()
