"""FLOPs against the published ones and against torch's own counter, and what is said of a device."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from trainer.flops import (
    cost_table,
    device_limits,
    image_flops,
    memory_needed,
    peak_flops,
    step_cost,
    text_flops,
    utilisation,
)
from trainer.model import CLIP, MODELS
from trainer.optim import Storage


@pytest.mark.parametrize(
    ("model", "image", "text"),  # 10^9 multiply-adds, of texts of 77 tokens
    [
        ("RN50", 5.79, 2.98),
        ("RN101", 9.50, 2.98),
        ("RN50x4", 20.58, 4.63),
        ("RN50x16", 72.87, 6.65),
        ("RN50x64", 260.13, 11.77),
        ("ViT-B/32", 4.41, 2.98),
        ("ViT-B/16", 17.56, 2.98),
        ("ViT-L/14", 81.01, 6.65),
        ("ViT-L/14@336", 190.96, 6.65),
    ],
)
def test_the_papers_models_cost_what_is_known(model: str, image: float, text: float) -> None:
    config = MODELS[model]
    assert image_flops(config, whole=True) / 2e9 == pytest.approx(image, rel=5e-3)
    assert text_flops(config, 77, whole=True) / 2e9 == pytest.approx(text, rel=5e-3)


@pytest.mark.parametrize("model", ["ViT-B/32", "RN50", "tiny", "tiny-RN", "RN50-CBOW"])
def test_what_is_counted_is_what_is_computed(model: str) -> None:
    """torch counts products as they are called; on the device "meta" nothing is computed.

    Texts have to be there, since their lengths decide what is computed: behind a small image tower.
    """
    config = replace(MODELS[model], vocab=50)
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        CLIP(config).encode_image(torch.empty(3, 3, config.image_size, config.image_size))
    assert counter.get_total_flops() == pytest.approx(3 * image_flops(config), rel=1e-9)
    layers = (1, 1, 1, 1) if isinstance(config.vision_layers, tuple) else 1
    small = replace(config, image_size=32, patch=config.patch and 32, vision_width=64, vision_layers=layers)
    ids = torch.zeros(3, 30, dtype=torch.int64)
    ids[:, 19] = 49
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        CLIP(small).encode_text(ids)
    assert counter.get_total_flops() == pytest.approx(3 * text_flops(config, 20), rel=1e-9)


def test_the_last_block_saves_most_of_itself() -> None:
    config = MODELS["ViT-B/32"]
    saved = 1 - image_flops(config) / image_flops(config, whole=True)
    assert 0.06 < saved < 1 / 12


@pytest.mark.parametrize(
    ("device", "peak"),
    [
        ("NVIDIA H200", 989e12),
        ("NVIDIA GH200 480GB", 989e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-40GB", 312e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("Tesla V100-SXM2-16GB", 125e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA GeForce GTX 1080", None),
    ],
)
def test_peaks_of_devices(device: str, peak: float | None) -> None:
    found = device_limits(device)
    assert (found and found[0]) == peak


def test_a_cpu_has_no_peak_and_no_utilisation() -> None:
    assert peak_flops(torch.device("cpu")) is None
    assert utilisation(1e12, 1.0, None) is None


def test_utilisation_is_three_forward_passes_over_what_was_possible() -> None:
    assert utilisation(1e12, 2.0, 6e12) == pytest.approx(0.25)


def test_bytes_of_a_step() -> None:
    config = MODELS["ViT-B/32"]
    cost = step_cost(config, 8, 77)
    assert cost.weight_bytes == 28 * 151_277_313
    assert cost.flops == pytest.approx(3 * 8 * (image_flops(config) + text_flops(config, 77)))
    assert step_cost(config, 16, 77).activation_bytes == 2 * cost.activation_bytes


def test_the_table_says_what_bounds_each_model() -> None:
    @cache
    def bounds(pictures_per_second: float, batch: int = 1_024) -> dict[str, str]:
        table = cost_table("NVIDIA H200", batch, 32, MODELS, pictures_per_second)
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
        return {row[0]: row[-1] for row in rows}

    assert list(bounds(1e9)) == list(MODELS)
    assert set(bounds(1.0).values()) == {"input"}
    assert set(bounds(1e9, batch=1).values()) == {"HBM"}  # the optimiser's bytes are shared by one pair
    assert bounds(1e9)["ViT-L/14"] == bounds(1e9)["RN50"] == "compute"
    assert bounds(3_000.0)["ViT-B/32"] == "input" and bounds(3_000.0)["RN50x64"] != "input"
    with pytest.raises(ValueError, match="no peak is known of a CPU"):
        cost_table("a CPU", 8, 32, MODELS, 1.0)


def test_memory_counts_what_is_kept_in_half_precision_as_half() -> None:
    config = MODELS["ViT-B/32"]

    def weights(**half: torch.dtype) -> float:
        return memory_needed(config, 0, 77, half=False, recompute=False, storage=Storage(**half))

    assert weights() == 16 * 151_277_313  # weight, gradient and two moments
    assert weights(moments=torch.bfloat16) == 12 * 151_277_313
    gains_and_biases = 12 * 13 * 512 + 2 * 512  # of twelve blocks, and of the last norm
    assert weights() - weights(text_weights=torch.bfloat16) == 2 * (63_428_096 - gains_and_biases)
    assert weights(moments=torch.bfloat16, text_weights=torch.bfloat16) < weights(moments=torch.bfloat16)


@pytest.mark.parametrize("model", ["tiny", "tiny-RN"])
def test_memory_is_a_lower_bound_of_what_is_kept(model: str) -> None:
    """Held against the tensors that torch saves for the backward pass."""
    sizes = replace(MODELS[model], image_size=32, vocab=50)
    clip = CLIP(sizes)
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    images, ids = torch.randn(6, 3, 32, 32), torch.tensor([[5] * 19 + [49]] * 6)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        features = clip(images, ids)
    assert all(value.requires_grad for value in features)
    for parameter in clip.parameters():
        saved.pop(parameter.untyped_storage().data_ptr(), None)
    none, some = (memory_needed(sizes, n, 20, half=False, recompute=False) for n in (0, 6))
    assert 0.5 * sum(saved.values()) < some - none <= sum(saved.values())
