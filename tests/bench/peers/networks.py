"""The networks of step.py in plain torch, for a machine without timm or transformers: Swin at any published size (shifted
windows, relative bias, fused attention of torch) and wav2vec2-base. Sizes and arithmetic are those of the originals;
initial values are not."""
import torch
from torch import nn
from torch.nn import functional as F


class WindowAttention(nn.Module):
    def __init__(self, dim, heads, window, side, shift):
        super().__init__()
        self.heads, self.window, self.side, self.shift = heads, window, side, shift
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        at = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        apart = (at[:, :, None] - at[:, None, :]).permute(1, 2, 0) + window - 1
        self.register_buffer("index", apart[..., 0] * (2 * window - 1) + apart[..., 1], persistent=False)
        self.register_buffer("mask", self.make_mask() if shift else None, persistent=False)

    def split(self, x):
        b, n, w = x.shape[0], self.side // self.window, self.window
        return x.view(b, n, w, n, w, -1).permute(0, 1, 3, 2, 4, 5).reshape(b * n * n, w * w, -1)

    def make_mask(self):
        region = torch.zeros(1, self.side, self.side, 1)
        cuts = (slice(0, -self.window), slice(-self.window, -self.shift), slice(-self.shift, None))
        for i, rows in enumerate(cuts):
            for j, columns in enumerate(cuts):
                region[:, rows, columns] = 3 * i + j
        region = self.split(region).squeeze(-1)
        return (region[:, None] != region[:, :, None]).float() * -100.0

    def forward(self, x):  # (B, side, side, C)
        b, s, w, c = x.shape[0], self.side, self.window, x.shape[-1]
        if self.shift:
            x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        windows = (s // w) ** 2
        q, k, v = self.qkv(self.split(x)).view(b * windows, w * w, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        bias = self.table[self.index].permute(2, 0, 1)[None]
        if self.mask is not None:
            bias = (bias + self.mask[:, None]).repeat(b, 1, 1, 1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        y = self.proj(y.transpose(1, 2).reshape(b * windows, w * w, c))
        n = s // w
        y = y.view(b, n, n, w, w, c).permute(0, 1, 3, 2, 4, 5).reshape(b, s, s, c)
        return torch.roll(y, (self.shift, self.shift), (1, 2)) if self.shift else y


class SwinBlock(nn.Module):
    def __init__(self, dim, heads, window, side, shift):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, heads, window, side, shift)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Merge(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm, self.reduction = nn.LayerNorm(4 * dim), nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x):
        b, s, _, c = x.shape
        x = x.view(b, s // 2, 2, s // 2, 2, c).permute(0, 1, 3, 4, 2, 5).flatten(3)
        return self.reduction(self.norm(x))


class Swin(nn.Module):
    """Pictures of 192 pixels, patches of 4, windows of 6. Attributes as timm's: patch_embed, layers, norm."""

    def __init__(self, embed, depths, heads, window=6):
        super().__init__()
        self.proj, self.first = nn.Conv2d(3, embed, 4, 4), nn.LayerNorm(embed)
        layers, side, dim = [], 48, embed
        for stage, (depth, h) in enumerate(zip(depths, heads)):
            if stage:
                layers.append(Merge(dim))
                side, dim = side // 2, 2 * dim
            for i in range(depth):
                layers.append(SwinBlock(dim, h, window, side, window // 2 if i % 2 and side > window else 0))
        self.layers, self.norm = nn.Sequential(*layers), nn.LayerNorm(dim)

    def patch_embed(self, x):
        return self.first(self.proj(x).permute(0, 2, 3, 1))


class Wav2Vec2(nn.Module):
    """Hidden states of wav2vec2-base: group norm after the first convolution, layer norm behind each sublayer."""

    class Layer(nn.Module):
        def __init__(self, width, heads, ffn):
            super().__init__()
            self.heads = heads
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.fc1, self.fc2 = nn.Linear(width, ffn), nn.Linear(ffn, width)

        def forward(self, x):
            b, n, c = x.shape
            q, k, v = self.qkv(x).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            x = self.norm1(x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c)))
            return self.norm2(x + self.fc2(F.gelu(self.fc1(x))))

    def __init__(self, width=768, layers=12, heads=12, ffn=3072):
        super().__init__()
        kernels, strides = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
        self.convs = nn.ModuleList(nn.Conv1d(512 if i else 1, 512, k, s, bias=False)
                                   for i, (k, s) in enumerate(zip(kernels, strides)))
        self.group_norm, self.norm = nn.GroupNorm(512, 512), nn.LayerNorm(512)
        self.project = nn.Linear(512, width)
        self.position = nn.utils.parametrizations.weight_norm(
            nn.Conv1d(width, width, 128, padding=64, groups=16), dim=2)
        self.norm_in = nn.LayerNorm(width)
        self.layers = nn.ModuleList(self.Layer(width, heads, ffn) for _ in range(layers))

    def forward(self, wave):
        x = wave[:, None]
        for i, conv in enumerate(self.convs):
            x = conv(x)
            x = F.gelu(self.group_norm(x) if i == 0 else x)
        x = self.project(self.norm(x.transpose(1, 2)))
        x = self.norm_in(x + F.gelu(self.position(x.transpose(1, 2))[..., :-1]).transpose(1, 2))
        for layer in self.layers:
            x = layer(x)
        return x
