"""Time and peak memory against Captum and shap: the same WavLM, the same clip, the same number of samples.

    python benchmarks/captum_comparison.py            # WavLM base, 3 s: about ten minutes on two cores, 14 GB
    python benchmarks/captum_comparison.py --small    # a tiny WavLM, 1 s: under a minute

Captum and shap explain transformers' model as it is loaded (its parameters require gradients); ours has the same
weights. What they do one class or one layer at a time is measured for one and multiplied; the table says so. Of paths
between features Captum's LayerIntegratedGradients is the peer; for neurons it has a path in each layer's own space.
"""

import argparse
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import shap
import torch
from captum.attr import GradientShap, LayerGradientShap, LayerIntegratedGradients
from harness import CountingForward, machine, print_table, timed
from passes import TransformersClassifier
from torch import Tensor, nn

from speechshap.attribution import Evaluator, Targets, find_method, gradient_shap
from speechshap.attribution.evaluator import NO_LAYERS
from speechshap.models import EmotionClassifier, build_backbone
from speechshap.models.modes import evaluation_mode

NUM_CLASSES = 8
NODES = 31
SMALL = {
    "hidden_size": 96, "num_hidden_layers": 12, "num_attention_heads": 4, "intermediate_size": 192,
    "conv_dim": [64] * 7, "num_conv_pos_embeddings": 32, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a tiny model and a short clip")
    small = parser.parse_args().small
    few, many = (8, 24) if small else (16, 50)
    torch.manual_seed(0)
    config = {"model_type": "wavlm", **(SMALL if small else {})}
    backbone = build_backbone(config)
    from transformers import AutoConfig, AutoModel

    plain = AutoModel.from_config(AutoConfig.for_model(**config))
    plain.load_state_dict(backbone.model.state_dict())
    head = nn.Linear(backbone.hidden_size, NUM_CLASSES)
    theirs = TransformersClassifier(plain, head).eval()
    ours = EmotionClassifier(backbone, head, backbone.num_layers).eval()
    waveform = 0.1 * torch.randn(1, 16000 if small else 48000)
    references = 0.1 * torch.randn(many, waveform.shape[1])
    layers = dict(ours.backbone.layers)
    last_parts = [layer.final_layer_norm for layer in plain.encoder.layers]
    target, all_targets = torch.tensor([[0]]), torch.arange(NUM_CLASSES)[None]

    def explain(n_samples: int, **options: Any) -> Callable[[], Any]:
        def run() -> Any:
            with evaluation_mode(ours):
                return gradient_shap(
                    ours, waveform, references, **{"targets": target, "n_samples": n_samples, **options}
                )

        return run

    def captum(n_samples: int, **options: Any) -> Callable[[], Any]:
        return lambda: GradientShap(theirs).attribute(
            waveform, references, n_samples=n_samples, stdevs=0.0, target=0, **options
        )

    def captum_layer() -> Any:
        return LayerGradientShap(theirs, last_parts[len(last_parts) // 2]).attribute(
            waveform, references, n_samples=few, stdevs=0.0, target=0
        )

    method = find_method("integrated_gradients")

    def explain_stem(classes: Any = 0, chosen: Mapping[str, nn.Module] = NO_LAYERS) -> Callable[[], Any]:
        def run() -> Any:
            with evaluation_mode(ours):
                evaluator = Evaluator(ours, waveform, layers=chosen, spaces=ours.spaces)
                targets = Targets.from_classes(1, classes)
                return method.explain(evaluator, targets, lambda *_: references[0], method.settings(space="stem"))

        return run

    def captum_from(module: nn.Module) -> Callable[[], Any]:
        return lambda: LayerIntegratedGradients(theirs, module).attribute(
            waveform, references[:1], target=0, n_steps=NODES, internal_batch_size=few
        )

    stem = captum_from(plain.feature_extractor)

    def shap_values() -> Any:
        explainer = shap.GradientExplainer(theirs, references, batch_size=few)
        return explainer.shap_values(waveform, nsamples=few, ranked_outputs=1)

    check_same_numbers(theirs, ours, waveform, references[:4])
    num_layers = len(layers)
    cases: list[tuple[str, Callable[[], Any], int, Callable[[], Any]]] = [
        (f"input attribution, {few} samples", captum(few), 1, explain(few)),
        (f"input attribution, {few} samples, against shap", shap_values, 1, explain(few)),
        (f"input attribution, {many} samples", captum(many), 1, explain(many)),
        (f"with the convergence delta, {few} samples", captum(few, return_convergence_delta=True), 1, explain(few)),
        (f"neurons of {num_layers} layers, endpoint, {few} samples", captum_layer, num_layers,
         explain(few, layers=layers)),
        (f"neurons of {num_layers} layers, path, {few} samples", captum_layer, num_layers,
         explain(few, layers=layers, layer_method="path")),
        (f"{NUM_CLASSES} classes, {few} samples", captum(few), NUM_CLASSES, explain(few, targets=all_targets)),
        (f"path between stem features, {NODES} points", stem, 1, explain_stem()),
        (f"the same, {NUM_CLASSES} classes", stem, NUM_CLASSES, explain_stem(all_targets)),
        (f"the same, neurons of {num_layers} layers", captum_from(last_parts[num_layers // 2]), num_layers,
         explain_stem(chosen=layers)),
    ]  # fmt: skip
    explain(4)()  # the first pass of a process is slower
    rows = []
    measured: dict[Callable[[], Any], tuple[float, float]] = {}
    for name, peer, times, own in cases:
        peer_seconds, peer_memory = timed(peer)
        own_seconds, own_memory = timed(own)
        measured[own] = own_seconds, own_memory
        peer_text = f"{peer_seconds:.1f} s" if times == 1 else f"{times} x {peer_seconds:.1f} s"
        rows.append(
            [name, peer_text, f"{peer_memory:.1f} GB", f"{own_seconds:.1f} s", f"{own_memory:.1f} GB",
             f"{times * peer_seconds / own_seconds:.1f}x"]
        )  # fmt: skip
        print(f"done: {rows[-1]}", flush=True)
    print_table(
        f"{'small' if small else 'WavLM base'}, {waveform.shape[1] / 16000:.0f} s, fp32, {machine()}",
        ["work", "Captum / shap", "its peak", "speechshap", "its peak", "faster"],
        rows,
    )
    for n_samples in (few, many):
        counting = CountingForward(ours)
        with evaluation_mode(ours):
            gradient_shap(counting, waveform, references, target, n_samples=n_samples)
        # One forward pass is for the prediction; what is left beside the gradients is for the completeness gap.
        extra = counting.cost - 1.0 - n_samples
        print(f"the completeness gap costs {extra / n_samples:.1%} more evaluations at {n_samples} samples")


def check_same_numbers(theirs: nn.Module, ours: nn.Module, waveform: Tensor, references: Tensor) -> None:
    """Both sides compute the same attribution for the same draws."""
    alphas = np.linspace(0.1, 0.9, len(references))
    points = (references + torch.tensor(alphas, dtype=torch.float32)[:, None] * (waveform - references)).detach()
    points.requires_grad_()
    (gradients,) = torch.autograd.grad(theirs(points)[:, 0].sum(), points)
    expected = ((waveform - references) * gradients).mean(0)
    with evaluation_mode(ours):
        result = gradient_shap(ours, waveform, references, torch.tensor([[0]]), alphas=torch.tensor(alphas))
    error = float((result.values[0, 0] - expected).norm() / expected.norm())
    print(f"relative difference for the same draws: {error:.1e}")


if __name__ == "__main__":
    main()
