"""Goldens of the sound front ends and of resampling: torchvggish, librosa and torchaudio, in fp64 where they can.

    pip install librosa torch torchaudio; pip install --no-deps torchvggish resampy
    python audio.py
"""

import os

import librosa
import numpy as np
import torch
import torchaudio
from safetensors.numpy import save_file
from torchvggish import mel_features, vggish_params

from golden import uniform

HERE = os.path.dirname(os.path.abspath(__file__))
RATE, SAMPLES = 16000, 20000
RATES, SECONDS = (44100, 48000, 22050, 8000), 0.2
TONES = ((211.0, 0.21, 0.4), (997.0, 0.17, 1.9), (2093.0, 0.13, 0.2), (3301.0, 0.11, 2.7))  # Hz, height, phase
# torchaudio's tutorial on resampling; its default is a filter that takes off the upper tones (-34 dB).
KAISER_BEST = {"lowpass_filter_width": 64, "rolloff": 0.9475937167399596, "resampling_method": "sinc_interp_kaiser",
               "beta": 14.769656459379492}
HIGH_TONES = ((5003.0, 0.09, 1.1), (6607.0, 0.07, 0.6))  # where the input has them


def scene():
    """int16: a sweep in noise, with an eighth of a second of silence cut out of its middle."""
    t = np.arange(SAMPLES) / RATE
    x = np.round(9000 * np.sin(2 * np.pi * (200 * t + 1500 * t * t)) + 2500 * uniform("input.audio", SAMPLES))
    x[7000:9000] = 0
    return x.astype(np.int16)


def stereo(rate):
    """int16 (n, 2): the tones, louder on the left; mono is their mean."""
    t = np.arange(int(rate * SECONDS)) / rate
    tones = TONES + (HIGH_TONES if rate > 16000 else ())
    both = [sum(a * s * np.sin(2 * np.pi * f * t + p) for f, a, p in tones) for s in (1.2, 0.8)]
    return np.round(np.stack(both, 1) * 32767).astype(np.int16)


def vggish(x):
    p = vggish_params
    return mel_features.log_mel_spectrogram(
        x, audio_sample_rate=p.SAMPLE_RATE, log_offset=p.LOG_OFFSET,
        window_length_secs=p.STFT_WINDOW_LENGTH_SECONDS, hop_length_secs=p.STFT_HOP_LENGTH_SECONDS,
        num_mel_bins=p.NUM_MEL_BINS, lower_edge_hertz=p.MEL_MIN_HZ, upper_edge_hertz=p.MEL_MAX_HZ)


def main():
    x = scene() / 32768.0
    wave = torch.from_numpy(x)
    T = torchaudio.transforms
    out = {"vggish": vggish(x)}
    out["librosa.mel"] = librosa.power_to_db(librosa.feature.melspectrogram(y=x, sr=RATE)).T
    out["librosa.mfcc"] = librosa.feature.mfcc(y=x, sr=RATE).T
    out["librosa.own"] = librosa.feature.mfcc(
        y=x, sr=RATE, n_mfcc=40, n_fft=512, win_length=400, hop_length=160, htk=True, n_mels=64, fmin=50,
        fmax=7600).T
    out["torchaudio.mel"] = T.AmplitudeToDB(top_db=80)(T.MelSpectrogram(RATE).double()(wave)).T
    out["torchaudio.mfcc"] = T.MFCC(RATE).double()(wave).T
    for rate in RATES:
        mono = stereo(rate).mean(1) / 32768.0
        out[f"resample.librosa.{rate}"] = librosa.resample(mono, orig_sr=rate, target_sr=RATE)
        out[f"resample.torchaudio.{rate}"] = torchaudio.functional.resample(
            torch.from_numpy(mono), rate, RATE, **KAISER_BEST)
    out = {k: np.ascontiguousarray(v, dtype=np.float32) for k, v in out.items()}
    for k, v in out.items():
        print(k, v.shape)
    save_file(out, os.path.join(HERE, "audio.safetensors"))


if __name__ == "__main__":
    main()
