"""Goldens of Swin and SimMIM: features against timm, loss and every gradient against the public SimMIM code.

    git clone https://github.com/microsoft/SimMIM && git -C SimMIM checkout d3e29bcac950b83edc34ca33fe4404f38309052c
    python swin.py SimMIM [--full]
"""

import argparse
import os
import re
import sys

import torch
import golden

COMMIT = "d3e29bcac950b83edc34ca33fe4404f38309052c"
HERE = os.path.dirname(os.path.abspath(__file__))

# image, patch, window, embed, depths, heads, batch. `tiny` has shifts, masks and a merging; `clip` a window of its own
# size and one that is larger than the grid. The batches make the number of signs of the L1 loss that bf16 turns round
# large enough to be compared.
SMALL = {
    "tiny": (32, 2, 4, 16, (2, 2), (1, 2), 16),
    "clip": (16, 2, 4, 8, (2, 2, 2), (1, 2, 4), 256),
}
FULL = {
    "swin_t": (192, 4, 6, 96, (2, 2, 6, 2), (3, 6, 12, 24), 2),
    "swin_b": (192, 4, 6, 128, (2, 2, 18, 2), (4, 8, 16, 32), 1),
}


def simmim_name(key):
    if key.endswith("relative_position_index") or key.endswith("attn_mask"):
        return None
    return key if key.startswith("decoder.") else key.replace("encoder.", "swin.", 1)


def timm_name(key):
    if key.endswith("relative_position_index") or key.endswith("attn_mask"):
        return None
    key = re.sub(r"^layers\.(\d+)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", key)
    return "swin." + key


def make_simmim(module, case):
    image, patch, window, embed, depths, heads, _ = case
    encoder = module.SwinTransformerForSimMIM(
        img_size=image, patch_size=patch, window_size=window, embed_dim=embed, depths=depths, num_heads=heads,
        num_classes=0, drop_path_rate=0.0)
    model = module.SimMIM(encoder, patch * 2 ** (len(depths) - 1)).train()
    golden.fill(model, simmim_name)
    return model


def mask_of(case):
    """60 % of the cells of the last stage, as a token mask."""
    image, patch, _, _, depths, _, batch = case
    cells, scale = image // patch >> (len(depths) - 1), 2 ** (len(depths) - 1)
    mask = golden.binary("input.mask", batch, cells, cells, share=0.6)
    return mask.repeat_interleave(scale, 1).repeat_interleave(scale, 2)  # (B, H, W)


def image_of(case):
    image, batch = case[0], case[-1]
    return golden.tensor("input.image", batch, image, image, 3).permute(0, 3, 1, 2).contiguous()


def simmim_step(case):
    def step(model, dtype):
        x, mask = image_of(case).to(dtype), mask_of(case).to(dtype)
        features = {}
        hook = model.encoder.register_forward_hook(lambda m, i, o: features.update(z=o))
        loss = model(x, mask)
        hook.remove()
        loss.backward()
        z = features["z"].detach().flatten(2).transpose(1, 2)  # (B, cells, C)
        return {"loss": loss.detach(), "features": z}, golden.gradients(model, simmim_name)

    return step


def timm_step(case):
    def step(model, dtype):
        with torch.no_grad():
            z = model.forward_features(image_of(case).to(dtype))  # (B, H, W, C)
        return {"features": z.flatten(1, 2)}, {}

    return step


def make_timm(case):
    from timm.models.swin_transformer import SwinTransformer

    image, patch, window, embed, depths, heads, _ = case
    model = SwinTransformer(
        img_size=image, patch_size=patch, window_size=window, embed_dim=embed, depths=depths, num_heads=heads,
        num_classes=0, drop_path_rate=0.0).eval()
    golden.fill(model, timm_name)
    return model


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("simmim", help="checkout of microsoft/SimMIM at " + COMMIT)
    parser.add_argument("--full", action="store_true", help="published sizes as well")
    args = parser.parse_args()
    golden.check_commit(args.simmim, COMMIT)
    golden.shim_timm()
    sys.path.insert(0, args.simmim)
    from models import simmim as module

    for name, case in {**SMALL, **(FULL if args.full else {})}.items():
        full = name in FULL
        outputs, grads, errors = golden.run_both(lambda: make_simmim(module, case), simmim_step(case))
        golden.save(os.path.join(HERE, f"simmim_{name}.safetensors"), outputs, grads, errors, full)
        outputs, grads, errors = golden.run_both(lambda: make_timm(case), timm_step(case))
        golden.save(os.path.join(HERE, f"timm_{name}.safetensors"), outputs, grads, errors, full)


if __name__ == "__main__":
    main()
