"""Neuron attributions of an utterance in a file of their own, beside the table."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from speechshap.files import whole_file
from speechshap.results.explanation import Explanation
from speechshap.results.folder import file_name

LAYERS = "layers"
"""Folder of the files."""


def neuron_file(folder: Path, settings_fingerprint: str, utterance: str) -> Path:
    """Where the neurons of an utterance are: ``layers/<settings fingerprint>/<utterance>.safetensors``.

    Args:
        folder: Of the explanations.
        settings_fingerprint: Of the run.
        utterance: Its id.

    Example:
        >>> neuron_file(Path("explanations"), "8f14e45f", "Actor_01/a.wav").as_posix()
        'explanations/layers/8f14e45f/Actor_01%2Fa.wav.safetensors'
    """
    return folder / LAYERS / settings_fingerprint / f"{file_name(utterance)}.safetensors"


def write_neurons(folder: Path, explanation: Explanation, neurons: dict[str, Tensor]) -> Path:
    """Write neuron attributions by name, with the provenance of their explanation as metadata; returns the path."""
    from safetensors.torch import save

    source = explanation.provenance
    metadata = {
        "utterance": explanation.utterance,
        "fingerprint": source.fingerprint,
        "method": source.method,
        "settings": json.dumps(dict(source.settings)),
    }
    path = neuron_file(folder, source.settings_fingerprint, explanation.utterance)
    with whole_file(path) as partial:
        # Not save_file, whose files only their owner can read.
        partial.write_bytes(save({name: tensor.contiguous() for name, tensor in neurons.items()}, metadata))
    return path


def has_neurons(path: Path, fingerprint: str) -> bool:
    """Whether a file is there, whole, and of the explanation with this fingerprint."""
    try:
        # Opening compares the size of the file with what its header announces.
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("fingerprint") == fingerprint
    except (OSError, SafetensorError):
        return False
