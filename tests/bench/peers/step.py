#!/usr/bin/env python3
"""The PyTorch side of `tests/bench/compare.py`: one training step (or one forward pass) of a model, timed on request.

Protocol, so that two programs can be measured in turn on a quiet machine: each line read from standard input is a
number of steps; the answer is one line, the seconds of each of them. Needs torch, timm and transformers in an
environment of its own; nothing of the project depends on it.

    python3 step.py --model simmim --batch 8 --dtype bf16 --threads 2 [--compile]
"""
import argparse
import sys
import time

import torch
from torch import nn


class SimMIM(nn.Module):
    """Swin-T at 192 pixels, window 6, mask token after the patch embedding, 1x1 decoder, masked L1."""

    def __init__(self):
        super().__init__()
        import timm
        self.encoder = timm.create_model("swin_tiny_patch4_window7_224", img_size=192, window_size=6, num_classes=0,
                                         drop_path_rate=0.0)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, 1, 96))
        self.decoder = nn.Conv2d(768, 32 * 32 * 3, 1)
        self.shuffle = nn.PixelShuffle(32)

    def forward(self, x, mask):
        e = self.encoder
        t = e.patch_embed(x)
        m = mask.unsqueeze(-1).to(t.dtype)
        t = t * (1 - m) + self.mask_token.to(t.dtype) * m
        t = e.norm(e.layers(t))
        y = self.shuffle(self.decoder(t.permute(0, 3, 1, 2)))
        pixels = mask.repeat_interleave(4, 1).repeat_interleave(4, 2).unsqueeze(1)
        return ((x - y.float()).abs() * pixels).sum() / (pixels.sum() + 1e-5) / 3


def simmim(batch):
    x = torch.randn(batch, 3, 192, 192)
    cells = torch.zeros(batch, 36)
    cells[:, torch.randperm(36)[:22]] = 1
    mask = cells.view(batch, 6, 6).repeat_interleave(8, 1).repeat_interleave(8, 2)
    return SimMIM(), (x, mask), True


def wav2vec2(batch):
    from transformers import Wav2Vec2Config, Wav2Vec2Model
    model = Wav2Vec2Model(Wav2Vec2Config())
    return model.eval(), (torch.randn(batch, 160000),), False


class CCA(nn.Module):
    """Seven blocks of width 768 with 8 heads and 4x MLPs in the paper's wiring, one linear head (49.6 M parameters)."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.kv, self.proj = nn.Linear(768, 768), nn.Linear(768, 1536), nn.Linear(768, 768)
            self.norm1, self.norm2 = nn.LayerNorm(768), nn.LayerNorm(768)
            self.fc1, self.fc2, self.drop = nn.Linear(768, 3072), nn.Linear(3072, 768), nn.Dropout(0.3)

        def forward(self, x, y):
            b, n, c = x.shape
            q = self.q(x).view(b, n, 8, 96).transpose(1, 2)
            k, v = self.kv(y).view(b, n, 2, 8, 96).permute(2, 0, 3, 1, 4)
            a = nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=0.3 if self.training else 0.0)
            a = self.drop(self.proj(a.transpose(1, 2).reshape(b, n, c)))
            x = x + self.norm1(a)
            h = self.drop(self.fc2(self.drop(nn.functional.gelu(self.fc1(x)))))
            return x + self.norm2(h)

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(self.Block() for _ in range(7))
        self.head = nn.Linear(768, 8)

    def forward(self, image, audio, target):
        b = self.blocks
        si, sa = b[0](image, image), b[1](audio, audio)
        ci, ca = b[2](audio, image), b[3](image, audio)
        ci, ca = b[4](si, ci), b[5](sa, ca)
        x = 0.7 * ci + 0.3 * ca
        return nn.functional.cross_entropy(self.head(b[6](x, x)).float().view(-1, 8), target)


def cca(batch):
    x, y = torch.randn(batch, 100, 768), torch.randn(batch, 100, 768)
    return CCA(), (x, y, torch.randint(0, 8, (batch * 100,))), True


def make_step(args):
    model, inputs, train = {"simmim": simmim, "wav2vec2": wav2vec2, "cca": cca}[args.model](args.batch)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=True) if train else None
    run = torch.compile(model) if args.compile else model
    cast = torch.autocast("cpu", torch.bfloat16, enabled=args.dtype == "bf16")

    def train_step():
        with cast:
            loss = run(*inputs)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def forward():
        with torch.inference_mode(), cast:
            run(*inputs)

    return train_step if train else forward


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--model", choices=["simmim", "wav2vec2", "cca"], required=True)
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--compile", action="store_true")
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    step = make_step(args)
    for _ in range(2):
        step()
    print("ready", flush=True)
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            start = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - start)
        print(" ".join(f"{s:.6f}" for s in seconds), flush=True)


if __name__ == "__main__":
    main()
