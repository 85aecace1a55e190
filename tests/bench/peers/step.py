#!/usr/bin/env python3
"""The PyTorch side of `tests/bench/compare.py`: one training step (or one forward pass) of a model, timed on request.

Protocol, so that two programs can be measured in turn on a quiet machine: each line read from standard input is a
number of steps; the answer is one line, the seconds of each of them. Needs torch in an environment of its own; where timm
or transformers are missing, or with --plain, the networks of networks.py take their place. Nothing of the project
depends on it.

On a GPU the inputs come from pinned memory in every step, nothing waits but at the end of the steps that were asked for,
and the answer is their mean, as many times. fp32 is without TF32 unless --tf32.

    python3 step.py --model simmim --batch 8 --dtype bf16 --threads 2 [--compile]
    python3 step.py --model simmim_b --batch 128 --dtype bf16 --device cuda [--compile]
"""
import argparse
import importlib.util
import sys
import time

import torch
from torch import nn


def has(package, args):
    return not args.plain and importlib.util.find_spec(package) is not None


class SimMIM(nn.Module):
    """Swin at 192 pixels, window 6, mask token after the patch embedding, 1x1 decoder, masked L1."""

    SIZES = {"simmim": ("tiny", 96, (2, 2, 6, 2), (3, 6, 12, 24)), "simmim_b": ("base", 128, (2, 2, 18, 2), (4, 8, 16, 32))}

    def __init__(self, args):
        super().__init__()
        name, embed, depths, heads = self.SIZES[args.model]
        if has("timm", args):
            import timm
            self.encoder = timm.create_model(f"swin_{name}_patch4_window7_224", img_size=192, window_size=6,
                                             num_classes=0, drop_path_rate=0.0)
        else:
            from networks import Swin
            self.encoder = Swin(embed, depths, heads)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, 1, embed))
        self.decoder = nn.Conv2d(8 * embed, 32 * 32 * 3, 1)
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


def simmim(args):
    batch = args.batch
    x = torch.randn(batch, 3, 192, 192)
    cells = torch.zeros(batch, 36)
    cells[:, torch.randperm(36)[:22]] = 1
    mask = cells.view(batch, 6, 6).repeat_interleave(8, 1).repeat_interleave(8, 2)
    return SimMIM(args), (x, mask), True


def wav2vec2(args):
    if has("transformers", args):
        from transformers import Wav2Vec2Config, Wav2Vec2Model
        model = Wav2Vec2Model(Wav2Vec2Config())
    else:
        from networks import Wav2Vec2
        model = Wav2Vec2()
    return model.eval(), (torch.randn(args.batch, 160000),), False


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


def cca(args):
    batch = args.batch
    x, y = torch.randn(batch, 100, 768), torch.randn(batch, 100, 768)
    return CCA(), (x, y, torch.randint(0, 8, (batch * 100,))), True


MODELS = {"simmim": simmim, "simmim_b": simmim, "wav2vec2": wav2vec2, "cca": cca}


def make_step(args):
    model, inputs, train = MODELS[args.model](args)
    gpu = args.device == "cuda"
    model = model.to(args.device)
    if gpu:
        inputs = tuple(x.pin_memory() for x in inputs)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=0.05, fused=True) if train else None
    run = torch.compile(model, mode=args.mode) if args.compile else model
    cast = torch.autocast(args.device, torch.bfloat16, enabled=args.dtype == "bf16")

    def fed():
        return tuple(x.to(args.device, non_blocking=True) for x in inputs) if gpu else inputs

    def train_step():
        with cast:
            loss = run(*fed())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def forward():
        with torch.inference_mode(), cast:
            run(*fed())

    return train_step if train else forward


def time_each(step, n):
    seconds = []
    for _ in range(n):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return seconds


def time_all(step, n):
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(n):
        step()
    torch.cuda.synchronize()
    return [(time.perf_counter() - start) / n] * n


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--model", choices=list(MODELS), required=True)
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    p.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--compile", action="store_true")
    p.add_argument("--mode", default="default", help="of --compile; reduce-overhead: CUDA graphs")
    p.add_argument("--plain", action="store_true", help="the networks of networks.py")
    p.add_argument("--tf32", action="store_true")
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = args.tf32
    begin = time.perf_counter()
    step = make_step(args)
    for _ in range(2 if args.device == "cpu" else 5):
        step()
    if args.device == "cuda":
        torch.cuda.synchronize()
        print(f"{torch.__version__}: {time.perf_counter() - begin:.1f} s to prepare, "
              f"{torch.cuda.max_memory_allocated() / 2**20:.0f} MiB", file=sys.stderr)
    print("ready", flush=True)
    for line in sys.stdin:
        seconds = (time_all if args.device == "cuda" else time_each)(step, int(line))
        print(" ".join(f"{s:.6f}" for s in seconds), flush=True)


if __name__ == "__main__":
    main()
