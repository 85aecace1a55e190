"""Goldens of wav2vec2 against huggingface/transformers: last hidden states and every gradient of a probe loss.

    python wav2vec2.py [--full]
"""

import argparse
import os
import re

import torch
import torch.nn.functional as F
import golden

HERE = os.path.dirname(os.path.abspath(__file__))

SMALL_SIZES = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
                   conv_dim=(16,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4)
STABLE = dict(do_stable_layer_norm=True, feat_extract_norm="layer", conv_bias=True)
XLSR = dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)

# options, batch, samples, valid samples per row (None: no mask)
SMALL = {
    "base": (SMALL_SIZES, 2, 5000, None),
    "base_padded": (SMALL_SIZES, 3, 5000, (5000, 3210, 1300)),
    "stable_padded": ({**SMALL_SIZES, **STABLE}, 3, 5000, (5000, 3210, 1300)),
}
FULL = {
    "full_base": ({}, 1, 160000, None),
    "full_xlsr": ({**XLSR, **STABLE}, 1, 16000, None),
}


def name_of(key):
    """Our name of a reference key; q, k and v of a layer share one."""
    if key == "masked_spec_embed":
        return None
    key = key.replace("parametrizations.weight.original0", "weight_g").replace("parametrizations.weight.original1",
                                                                                "weight_v")
    return "wav2vec2." + re.sub(r"attention\.[qkv]_proj", "attention.qkv", key)


def make(options):
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    model = Wav2Vec2Model(Wav2Vec2Config(**options, attn_implementation="eager")).eval()
    with torch.no_grad():
        for key, value in model.state_dict().items():
            part = re.search(r"attention\.([qkv])_proj", key)
            if part:
                rows = value.shape[0]
                whole = golden.tensor(name_of(key), 3 * rows, *value.shape[1:])
                at = "qkv".index(part[1]) * rows
                value.copy_(whole[at:at + rows])
            elif name_of(key):
                value.copy_(golden.tensor(name_of(key), *value.shape))
    return model


def gradients(model):
    grads = {}
    for key, p in model.named_parameters():
        if p.grad is None or not name_of(key):
            continue
        part = re.search(r"attention\.([qkv])_proj", key)
        if part:
            rows = p.shape[0]
            whole = grads.setdefault(name_of(key), torch.zeros(3 * rows, *p.shape[1:], dtype=p.dtype))
            at = "qkv".index(part[1]) * rows
            whole[at:at + rows] = p.grad
        else:
            grads[name_of(key)] = p.grad
    return grads


def step_of(batch, samples, valid):
    def step(model, dtype):
        wave = golden.tensor("input.wave", batch, samples).to(dtype)
        mask = None
        if valid:
            mask = (torch.arange(samples)[None] < torch.tensor(valid)[:, None]).long()
            wave = wave * mask
        hidden = model(wave, attention_mask=mask).last_hidden_state  # (B, n, width)
        weight = torch.ones(hidden.shape[:2], dtype=dtype)
        if valid:
            frames = model._get_feat_extract_output_lengths(torch.tensor(valid))
            weight = (torch.arange(hidden.shape[1])[None] < frames[:, None]).to(dtype)
        # A smooth function of every valid number of the result.
        target = (golden.tensor("input.target", *hidden.shape).to(dtype) > 0).to(dtype)
        with torch.autocast("cpu", enabled=False):
            each = F.binary_cross_entropy_with_logits(hidden.to(dtype), target, reduction="none")
            loss = (each * weight[..., None]).sum() / (weight.sum() * hidden.shape[-1])
        loss.backward()
        return {"loss": loss.detach(), "hidden": (hidden * weight[..., None]).detach()}, gradients(model)

    return step


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true", help="published sizes as well")
    args = parser.parse_args()
    for name, (options, batch, samples, valid) in {**SMALL, **(FULL if args.full else {})}.items():
        outputs, grads, errors = golden.run_both(lambda: make(options), step_of(batch, samples, valid))
        golden.save(os.path.join(HERE, f"wav2vec2_{name}.safetensors"), outputs, grads, errors, name in FULL)


if __name__ == "__main__":
    main()
