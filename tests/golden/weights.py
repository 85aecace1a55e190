"""Small weights files as other projects write them, with closed-form values under our names.

    python weights.py SIMMIM        (a checkout of microsoft/SimMIM, see swin.py)
"""

import argparse
import os
import re
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file

import golden
import swin
import wav2vec2

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "weights")
CASE = (16, 2, 2, 4, (2, 1), (1, 2), 1)  # as in swin.py
WAV = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(4,) * 7,
           num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2)


def write(name, tensors):
    path = os.path.join(HERE, name)
    save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, path)
    print(name, os.path.getsize(path))


def published(model):
    """Names and values as transformers writes them, which are not always those in memory."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_file(os.path.join(folder, "model.safetensors"))


def rows_of(whole, key, pattern, letters):
    """Query, key or value rows of a tensor of ours; all of it where the key names none."""
    part = re.search(pattern, key)
    if not part:
        return whole
    rows = whole.shape[0] // 3
    at = letters.index(part[1]) * rows
    return whole[at:at + rows]


def hf_swin():
    from transformers import SwinConfig, SwinForMaskedImageModeling

    image, patch, window, embed, depths, heads, _ = CASE
    model = SwinForMaskedImageModeling(SwinConfig(
        image_size=image, patch_size=patch, window_size=window, embed_dim=embed, depths=list(depths),
        num_heads=list(heads), encoder_stride=patch * 2 ** (len(depths) - 1)))
    ours = make_simmim_state()
    tensors = {}
    for key, value in published(model).items():
        if key.endswith("relative_position_index"):
            tensors[key] = value
            continue
        whole = rows_of(ours[hf_swin_name(key)], key, r"self\.(query|key|value)\.", ("query", "key", "value"))
        assert whole.shape == value.shape, (key, whole.shape, value.shape)
        tensors[key] = whole
    return tensors


def hf_swin_name(key):
    for theirs, ours in (
        ("swin.embeddings.patch_embeddings.projection", "swin.patch_embed.proj"),
        ("swin.embeddings.norm", "swin.patch_embed.norm"),
        ("swin.embeddings.mask_token", "swin.mask_token"),
        ("swin.encoder.", "swin."),
        ("layernorm_before", "norm1"),
        ("layernorm_after", "norm2"),
        ("swin.layernorm", "swin.norm"),
        ("attention.self.relative_position_bias_table", "attn.relative_position_bias_table"),
        ("attention.output.dense", "attn.proj"),
        ("intermediate.dense", "mlp.fc1"),
        ("output.dense", "mlp.fc2"),
    ):
        key = key.replace(theirs, ours)
    return re.sub(r"attention\.self\.(query|key|value)", "attn.qkv", key)


simmim_state = {}


def make_simmim_state():
    return {swin.simmim_name(k): v for k, v in simmim_state.items() if swin.simmim_name(k)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("simmim", help="checkout of microsoft/SimMIM at " + swin.COMMIT)
    args = parser.parse_args()
    golden.check_commit(args.simmim, swin.COMMIT)
    golden.shim_timm()
    sys.path.insert(0, args.simmim)
    from models import simmim as module

    os.makedirs(HERE, exist_ok=True)
    model = swin.make_simmim(module, CASE)
    simmim_state.update(model.state_dict())
    write("simmim.safetensors", simmim_state)
    write("timm.safetensors", swin.make_timm(CASE).state_dict())
    write("hf_swin.safetensors", hf_swin())
    wav = {"wav2vec2." + k: v for k, v in published(wav2vec2.make(WAV)).items()}
    wav["wav2vec2.masked_spec_embed"] = golden.tensor("wav2vec2.masked_spec_embed", WAV["hidden_size"])
    write("hf_wav2vec2.safetensors", wav)
    # Before torch 2.1, and the bare model.
    old = {k.replace("parametrizations.weight.original0", "weight_g").replace("parametrizations.weight.original1",
                                                                              "weight_v"): v for k, v in wav.items()}
    write("hf_wav2vec2_old.safetensors", {k.removeprefix("wav2vec2."): v for k, v in old.items()})

    # What the public training script saves, in both of torch.save's forms; views, halves and a shared storage.
    state = {"model": {k: v for k, v in simmim_state.items()}, "epoch": 3, "config": argparse.Namespace(a=[1, "b"]),
             "optimizer": {"state": {0: {"step": 1, "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-3}]}}
    torch.save(state, os.path.join(HERE, "simmim.pth"))
    torch.save(state, os.path.join(HERE, "simmim_legacy.pth"), _use_new_zipfile_serialization=False)
    whole = golden.tensor("input.whole", 4, 6)
    odd = {"swin.layers.0.blocks.0.attn.qkv.weight": whole, "swin.transposed": whole.t(), "swin.view": whole[1:3, 2:5],
           "swin.half": whole.half(), "swin.bf16": whole.bfloat16(), "swin.double": whole.double(),
           "swin.parameter": torch.nn.Parameter(whole[0]), "swin.index": torch.arange(5)}
    torch.save(odd, os.path.join(HERE, "odd.pth"))
    for name in "simmim.pth", "simmim_legacy.pth", "odd.pth":
        print(name, os.path.getsize(os.path.join(HERE, name)))


if __name__ == "__main__":
    main()
