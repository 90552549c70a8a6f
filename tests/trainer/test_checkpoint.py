"""Checkpoints: what goes in comes out, damage and strangers are named, nothing in them is executed."""

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import Failure
from core.manifest import Receipt, write_manifest
from trainer.checkpoint import State, latest, load_model, restore, room, save, write_model
from trainer.model import CLIP, MODELS, ModelConfig
from trainer.optim import Storage, adamw, parameter_groups

SIZES = ModelConfig(
    embed_dim=4,
    image_size=8,
    patch=4,
    vision_width=4,
    vision_layers=1,
    text_width=4,
    text_layers=1,
    context=4,
    vocab=50,
)
FACTS = {
    "stage": "train",
    "seed": 1,
    "config": {"steps": 9, "model": "x"},
    "inputs": {"pack": "abc", "init": "cba"},
    "determined_by": {"torch": "2.15.0", "batch_norm_of": 8},
}


def make_state(seed: int, steps: int = 0) -> State:
    """A state after some steps of nonsense."""
    torch.manual_seed(seed)
    model = CLIP(SIZES)
    state = State(model, torch.optim.AdamW(parameter_groups(model, 0.2), lr=0.1))
    for step in range(steps):
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        state.optimiser.step()
        state.metrics.append((1 / (step + 1), 0.1, 14.0))
    return state


def tensors(state: State) -> list[torch.Tensor]:
    moments = state.optimiser.state_dict()["state"]
    return [*state.model.state_dict().values(), *(moments[i][key] for i in moments for key in sorted(moments[i]))]


def same(one: State, other: State) -> bool:
    return one.metrics == other.metrics and all(map(torch.equal, tensors(one), tensors(other)))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    save(str(folder), make_state(0, 3), FACTS, "CPU A", 2)
    return Path(str(latest(str(folder))))


def under_its_name(folder: Path, step: int, data: bytes) -> Path:
    """A file as if it were the checkpoint of that step."""
    path = folder / f"checkpoint-{step:08}-{hashlib.sha256(data).hexdigest()[:16]}.pt"
    path.write_bytes(data)
    return path


def test_a_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    state = make_state(0, 3)
    save(str(tmp_path), state, FACTS, "CPU A", 2)
    drawn = torch.rand(5)
    other = make_state(1)
    path = latest(str(tmp_path))
    assert path is not None
    assert restore(path, other, FACTS) == "CPU A"
    assert other.step == 3 and same(state, other)
    assert torch.equal(torch.rand(5), drawn)


def test_a_state_before_the_first_step_comes_back(tmp_path: Path) -> None:
    save(str(tmp_path), make_state(0), FACTS, "", 2)
    state = make_state(1)
    restore(str(latest(str(tmp_path))), state, FACTS)
    assert state.step == 0 and same(state, make_state(0))


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    assert latest(str(tmp_path)) is None
    assert latest(str(tmp_path / "nowhere")) is None
    (tmp_path / "checkpoint-notes.txt").write_text("mine")
    needed = room(str(tmp_path), SIZES, 2)
    for steps in (1, 2, 9, 10):
        save(str(tmp_path), make_state(0, steps), FACTS, "", 2)
    names = sorted(path.name[:19] for path in tmp_path.iterdir())
    assert names == ["checkpoint-00000009", "checkpoint-00000010", "checkpoint-notes.tx"]
    assert str(latest(str(tmp_path))).startswith(f"{tmp_path}/checkpoint-00000010-")
    assert room(str(tmp_path), SIZES, 2) * 3 == needed


def test_room_is_what_checkpoints_take(saved: Path, tmp_path: Path) -> None:
    weights = sum(parameter.numel() for parameter in CLIP(SIZES).parameters())
    assert room(str(tmp_path), SIZES, 2) == 3 * 12 * weights
    assert 12 * weights < saved.stat().st_size


@pytest.mark.parametrize("moments", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("text_weights", [torch.float32, torch.bfloat16])
def test_room_counts_half_precision_as_half(tmp_path: Path, moments: torch.dtype, text_weights: torch.dtype) -> None:
    sizes = replace(MODELS["tiny-RN"], vocab=1_000)
    storage = Storage(moments=moments, text_weights=text_weights)
    model = CLIP(sizes)
    optimiser = adamw(model, learning_rate=1e-3, weight_decay=0.2, betas=(0.9, 0.98), epsilon=1e-6, storage=storage)
    state = State(model, optimiser)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter, dtype=torch.float32)
    state.optimiser.step()
    state.metrics.append((1.0,))
    save(str(tmp_path / "there"), state, FACTS, "", 1)
    needed = room(str(tmp_path / "none"), sizes, 1, storage) / 2
    written = Path(str(latest(str(tmp_path / "there")))).stat().st_size
    assert needed < written < 1.05 * needed


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:-30],
        lambda data: b"",
        lambda data: b"hello world",
        lambda data: bytes(len(data)),
    ],
    ids=["half", "without its end", "empty", "text", "zeros"],
)
def test_a_damaged_checkpoint_is_said_in_one_sentence(
    saved: Path, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / saved.name
    path.write_bytes(damage(saved.read_bytes()))
    with pytest.raises(Failure, match=f"{path} is damaged .*: remove it and run train again") as caught:
        restore(str(path), make_state(1), FACTS)
    assert "\n" not in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_flipped_bit_gets_into_the_weights(saved: Path, at: float, bit: int) -> None:
    data = bytearray(saved.read_bytes())
    data[int(at * len(data))] ^= 1 << bit
    path = saved.parent / "flipped" / saved.name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    with pytest.raises(Failure, match=f"{path} is damaged"):
        restore(str(path), make_state(1), FACTS)


def test_a_file_of_another_name_is_none(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint-00000003.pt"
    path.write_bytes(saved.read_bytes())
    assert latest(str(tmp_path)) is None
    with pytest.raises(Failure, match=f"{path} is damaged"):
        restore(str(path), make_state(1), FACTS)


def changed(**some: Any) -> dict[str, Any]:
    return {**FACTS, **some}


@pytest.mark.parametrize(
    ("facts", "names"),
    [
        (changed(seed=2), r"run\.seed"),
        (changed(config={"steps": 10, "model": "y"}), "train.model, train.steps"),
        (changed(inputs={"pack": "abd", "init": ""}, seed=0), r"train\.init, pack, run\.seed"),
        (
            changed(determined_by={"torch": "2.16.0", "batch_norm_of": 4}),
            r"number of pictures for batch norm \(of train\.micro_batch and the ranks\), version of torch",
        ),
        (changed(other="x"), "other"),
    ],
)
def test_a_checkpoint_of_other_facts_says_which(saved: Path, facts: dict[str, Any], names: str) -> None:
    with pytest.raises(Failure, match=rf"{saved} was made with another {names}: set that back .* or remove"):
        restore(str(saved), make_state(1), facts)


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (make_state(0).model.state_dict(), "is no checkpoint of this version"),
        ([1, 2], "is no checkpoint of this version"),
        ({"version": 0}, "is no checkpoint of this version"),
        ({"version": 1, "facts": Hostile()}, "is damaged"),
    ],
)
def test_another_file_of_torch_is_no_checkpoint(
    content: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = io.BytesIO()
    torch.save(content, data)
    path = under_its_name(tmp_path, 1, data.getvalue())
    with pytest.raises(Failure, match=said):
        restore(str(path), make_state(1), FACTS)
    assert not (tmp_path / "executed").exists()


def test_the_same_weights_make_the_same_bytes(tmp_path: Path) -> None:
    state, other = make_state(0, 3), make_state(1)
    save(str(tmp_path), state, FACTS, "", 2)
    restore(str(latest(str(tmp_path))), other, FACTS)
    one, two = (write_model(str(tmp_path / name), s.model, {}) for name, s in (("a", state), ("b", other)))
    assert one == two
    assert (tmp_path / "a/model.pt").read_bytes() == (tmp_path / "b/model.pt").read_bytes()


def test_a_finished_model_loads(tmp_path: Path) -> None:
    state = make_state(0, 3)
    parts = write_model(str(tmp_path), state.model, {"seed": 1})
    manifest = write_manifest(str(tmp_path), {}, [Receipt("train", "all", "", tuple(parts), {})])
    model = load_model(manifest)
    assert model.config == SIZES and not model.training
    assert all(map(torch.equal, model.state_dict().values(), state.model.state_dict().values()))
    assert json.loads((tmp_path / "model.json").read_bytes())["seed"] == 1
    sizes = (tmp_path / "model.json").read_bytes()
    (tmp_path / "model.json").write_bytes(sizes.replace(b'"seed": 1', b'"seed": 2'))
    with pytest.raises(Failure, match=r"model\.json is not the one that its manifest names"):
        load_model(manifest)
    (tmp_path / "model.json").write_bytes(sizes)
    (tmp_path / "model.pt").write_bytes((tmp_path / "model.pt").read_bytes()[:-100])
    with pytest.raises(Failure, match=r"model\.pt is damaged .*: remove it and run train again"):
        load_model(manifest)
