"""The mel conventions people really have files in, as data.

Each was read off the code or configuration named in ``origin``; the tests compute every one a second time
from its definition. ``docs/mel.md`` shows them as a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Preset:
    """One convention as data.

    Attributes:
        values: fields of :class:`scoregen.audio.mel.MelSpec`, without the name.
        fits: the TTS front ends and vocoders whose mels are of this convention.
        origin: where the definition was read.
    """

    values: dict[str, Any]
    fits: str
    origin: str


def _hifigan(rate: int, mels: int, top: float, **changes: Any) -> dict[str, Any]:
    """The HiFi-GAN recipe: Slaney filters, uncentred frames, root of power + 1e-9, ln of at least 1e-5."""
    return {
        "sample_rate": rate,
        "n_fft": 1024,
        "win_length": 1024,
        "hop": 256,
        "n_mels": mels,
        "f_min": 0.0,
        "f_max": top,
        "scale": "slaney",
        "area_norm": True,
        "centre": False,
        "window_norm": False,
        "power_floor": 1e-9,
        "log": "ln",
        "floor": 1e-5,
        **changes,
    }


def _librosa(rate: int, top: float, **changes: Any) -> dict[str, Any]:
    """librosa's defaults: Slaney filters on plain magnitudes of centred frames."""
    return _hifigan(rate, 80, top, centre=True, power_floor=0.0, **changes)


# torchaudio's MelSpectrogram(power=1): HTK filters without area norm, centred frames.
_TORCHAUDIO: dict[str, Any] = {"scale": "htk", "area_norm": False, "centre": True, "power_floor": 0.0}
# What ParallelWaveGAN, ESPnet and SpeechT5 share.
_PWG: dict[str, Any] = {"f_min": 80.0, "log": "log10", "floor": 1e-10}

PRESET_DATA: dict[str, Preset] = {
    "hifigan-22k": Preset(
        _hifigan(22050, 80, 8000.0),
        "HiFi-GAN, Matcha-TTS and Grad-TTS (their mels as handed to the vocoder), BigVGAN 22 kHz fmax 8k",
        "jik876/hifi-gan meldataset.py (Kong et al. 2020); BigVGAN configs/bigvgan_22khz_80band.json",
    ),
    "bigvgan-24k": Preset(
        _hifigan(24000, 100, 12000.0),
        "BigVGAN 24 kHz 100 bands (v1 and v2), F5-TTS with its BigVGAN option",
        "NVIDIA/BigVGAN meldataset.py, configs/bigvgan_24khz_100band.json (Lee et al. 2023)",
    ),
    "vocos-24k": Preset(
        _hifigan(24000, 100, 12000.0, floor=1e-7, **_TORCHAUDIO),
        "Vocos mel-24khz",
        "gemelo-ai/vocos feature_extractors.py (Siuzdak 2024)",
    ),
    "wavegrad-24k": Preset(
        _hifigan(
            24000,
            128,
            12000.0,
            n_fft=2048,
            win_length=1200,
            hop=300,
            f_min=20.0,
            window_norm=True,
            log="db01",
            **_TORCHAUDIO,
        ),
        "the lmnt WaveGrad implementation",
        "lmnt-com/wavegrad preprocess.py (Chen et al. 2021)",
    ),
    "bigvgan-22k-full": Preset(
        _hifigan(22050, 80, 11025.0),
        "BigVGAN v2 22 kHz 80 bands 256x",
        "NVIDIA/BigVGAN configs/bigvgan_v2_22khz_80band_256x.json",
    ),
    "bigvgan-44k": Preset(
        _hifigan(44100, 128, 22050.0, n_fft=2048, win_length=2048, hop=512),
        "BigVGAN v2 44 kHz 128 bands 512x",
        "NVIDIA/BigVGAN configs/bigvgan_v2_44khz_128band_512x.json",
    ),
    "cosyvoice2-24k": Preset(
        _hifigan(24000, 80, 8000.0, n_fft=1920, win_length=1920, hop=480),
        "CosyVoice 2, Chatterbox (S3Gen)",
        "the feat_extractor block of cosyvoice2.yaml, repeated in S3Gen utils/mel.py",
    ),
    "matcha-ljspeech-22k": Preset(
        _hifigan(22050, 80, 8000.0, mean=-5.536622, std=2.116101),
        "Matcha-TTS trained on LJ Speech: z-normed mels inside the model (its decoder's output)",
        "shivammehta25/Matcha-TTS configs/data/ljspeech.yaml",
    ),
    "tacotron2-22k": Preset(
        _librosa(22050, 8000.0),
        "NVIDIA Tacotron 2, WaveGlow",
        "NVIDIA/tacotron2 layers.py, stft.py (Shen et al. 2018)",
    ),
    "melgan-22k": Preset(
        _hifigan(22050, 80, 11025.0, power_floor=0.0, log="log10"),
        "MelGAN",
        "descriptinc/melgan-neurips mel2wav/modules.py (Kumar et al. 2019)",
    ),
    "pwg-22k": Preset(
        _librosa(22050, 7600.0, **_PWG),
        "ParallelWaveGAN toolkit at 22.05 kHz (LJ Speech recipes); ESPnet2 TTS (LJ Speech recipe) before its "
        "mean-variance norm, except in digital silence",
        "kan-bayashi/ParallelWaveGAN bin/preprocess.py, egs/ljspeech/voc1/conf/hifigan.v1.yaml",
    ),
    "pwg-24k": Preset(
        _librosa(24000, 7600.0, n_fft=2048, win_length=1200, hop=300, **_PWG),
        "ParallelWaveGAN toolkit at 24 kHz (LibriTTS recipes)",
        "kan-bayashi/ParallelWaveGAN bin/preprocess.py, egs/libritts/voc1/conf/hifigan.v1.yaml",
    ),
    "speecht5-16k": Preset(
        _librosa(16000, 7600.0, **_PWG),
        "SpeechT5 and its HiFi-GAN in Hugging Face Transformers",
        "huggingface/transformers feature_extraction_speecht5.py (Ao et al. 2022)",
    ),
    "coqui-22k": Preset(
        # Decibels over a range of 100, reference 20, mapped to [-4, 4]: db01 stretched about its middle.
        _librosa(22050, 11025.0, log="db01", mean=0.5, std=0.125),
        "Coqui TTS models with BaseAudioConfig's defaults (many recipes change them: see the model's config)",
        "coqui-ai/TTS config/shared_configs.py, utils/audio/processor.py",
    ),
    "nemo-22k": Preset(
        _librosa(22050, 8000.0, guard="add", window="symmetric", padding="zero"),
        "NVIDIA NeMo FastPitch (releases that padded with reflection differ in the edge frames)",
        "NVIDIA-NeMo/NeMo preprocessing/features.py, examples/tts/conf/fastpitch_align_v1.05.yaml",
    ),
    "f5tts-24k": Preset(
        _hifigan(24000, 100, 12000.0, **_TORCHAUDIO),
        "F5-TTS and E2 TTS with their Vocos option: vocos-24k with a higher floor",
        "SWivid/F5-TTS model/modules.py (Chen et al. 2024)",
    ),
}
