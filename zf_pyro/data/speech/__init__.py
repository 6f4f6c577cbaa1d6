"""Speech and other recordings: from audio files to frames of a waveform that are read from the disk."""

from zf_pyro.data.speech.collection import described, prepare_audio
from zf_pyro.data.speech.given import given_audio
from zf_pyro.data.speech.load import load_audio, load_timit
from zf_pyro.data.speech.settings import SpeechSettings, TimitSettings
from zf_pyro.data.speech.shards import is_prepared

__all__ = [
    "SpeechSettings",
    "TimitSettings",
    "described",
    "given_audio",
    "is_prepared",
    "load_audio",
    "load_timit",
    "prepare_audio",
]
