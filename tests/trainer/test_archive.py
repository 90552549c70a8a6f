"""torch's archives read as data: what torch writes comes out whole, and nothing that a pickle says is run."""

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.errors import Failure
from trainer.archive import MAX_DEPTH, MAX_PICKLE, MAX_VALUES, read_tensors

TENSORS = {
    "float": torch.arange(6.0).reshape(2, 3),
    "half": torch.tensor([0.5, -2.0]).half(),
    "bfloat": torch.tensor([[1.5]]).bfloat16(),
    "scalar": torch.tensor(2.659),
    "count": torch.tensor(7),
    "flags": torch.tensor([True, False]),
    "turned": torch.arange(6.0).reshape(2, 3).T,
    "part": torch.arange(100.0)[10:14],
}


def read(data: bytes, within: Callable[[Any], Any] = lambda said: said) -> dict[str, Tensor]:
    return read_tensors(io.BytesIO(data), "weights.pt", within)


def saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def archive(pickled: bytes, storage: bytes = struct.pack("<f", 1.5), compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip as torch writes it, with any pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/data/0", storage)
    return buffer.getvalue()


STORAGE = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK%ctQ"


def tensor(length: int = 1, offset: int = 0, size: int = 1, stride: int = 1) -> bytes:
    """The pickle of {"w": a tensor}."""
    place = STORAGE.replace(b"%c", bytes([length]))
    numbers = b"K%c(K%ct(K%ct" % (offset, size, stride)
    return b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n(" + place + numbers + b"\x89}tRs."


def test_what_torch_saves_comes_out() -> None:
    read_back = read(saved(TENSORS))
    assert set(read_back) == set(TENSORS)
    for name, value in TENSORS.items():
        assert read_back[name].dtype == value.dtype
        assert torch.equal(read_back[name], value)
        assert read_back[name].untyped_storage().nbytes() == value.numel() * value.itemsize


def test_an_optimiser_beside_the_weights_is_not_read() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    groups = [{"lr": 5e-4, "betas": (0.9, 0.98), "foreach": None, "params": [0, 1]}]
    optimiser = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(2, 2)}}, "param_groups": groups}
    said = {"epoch": 2**40, "name": "run", "state_dict": model.state_dict(), "optimizer": optimiser}
    whole = read(saved(said))
    assert "optimizer.state.0.exp_avg" in whole
    weights = read(saved(said), lambda said: said["state_dict"])
    assert set(weights) == set(model.state_dict())
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    assert set(read(saved({"w": nn.Parameter(torch.ones(2))}))) == {"w"}


@pytest.mark.filterwarnings("ignore")  # of torch: TorchScript is on its way out, the released archives are not
def test_torchscript_comes_out_by_the_names_of_its_modules() -> None:
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.linear, self.strides = nn.BatchNorm1d(3), nn.Linear(3, 3).half(), [1, 2]

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(self.norm(x).half())  # type: ignore[no-any-return]

    model = nn.Sequential(Inner(), nn.ReLU(), nn.Linear(3, 2)).eval()
    for scripted in (torch.jit.script(model), torch.jit.trace(model[0], torch.ones(2, 3))):  # type: ignore[no-untyped-call]
        buffer = io.BytesIO()
        torch.jit.save(scripted, buffer)
        tensors, expected = read(buffer.getvalue()), scripted.state_dict()
        assert set(tensors) == set(expected)
        assert all(torch.equal(tensors[name], value) for name, value in expected.items())
        assert {tensor.dtype for tensor in tensors.values()} >= {torch.float16, torch.float32, torch.int64}


class Command:
    """Pickles as a call of os.system."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        import os

        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
def test_a_command_is_named_and_not_run(tmp_path: Path, protocol: int) -> None:
    for value in (Command(tmp_path / "run"), {"state_dict": {"visual.proj": Command(tmp_path / "run")}}):
        pickled = pickle.dumps(value, protocol)
        with pytest.raises(Failure, match=r"weights.pt holds .*nothing of it was run or loaded") as caught:
            read(archive(pickled))
        assert protocol != 2 or "'posix.system', which is no tensor" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "named",
    ["builtins\neval", "builtins\ngetattr", "torch.serialization\nload", "torch\nload", "numpy\nndarray", "torch\nhub"],
)
def test_other_names_are_refused(named: str) -> None:
    with pytest.raises(Failure, match=named.replace("\n", ".")):
        read(archive(b"\x80\x02c" + named.encode() + b"\n)R."))


def nested(depth: int) -> bytes:
    return b"\x80\x02" + b"}X\x01\0\0\0a" * depth + b"N" + b"s" * depth + b"."


def doubled(times: int) -> bytes:
    """A dictionary whose two values are one dictionary, and so on."""
    return b"}X\x01\0\0\0a%bq%csX\x01\0\0\0bh%cs" % (doubled(times - 1), times, times) if times else b"}"


ITSELF = b"\x80\x02c__torch__.M\nM\n)\x81q\0}X\x01\0\0\0ah\0sb."


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "BadZipFile"),
        (b"PK\x03\x04 and no more", "BadZipFile"),
        (saved(TENSORS)[:-200], "BadZipFile"),
        (archive(b""), "no archive of torch's"),
        (archive(b"\x80\x02}"), "no archive of torch's"),
        (archive(b"\x80\x02\xffs."), "no archive of torch's"),
        (archive(b"\x80\x02N0."), "the instruction POP of pickle"),
        (archive(b"\x80\x02h\x05."), "no archive of torch's"),
        (archive(b"\x80\x02R."), "takes more than was put"),
        (archive(b"\x80\x02}NNs."), "has a NoneType for a key"),
        (archive(b"\x80\x02})" + b"\x85" * 10**5 + b"Ns."), "has a tuple for a key"),
        (archive(b"\x80\x02c__torch__.\x1b[2J\nM\nN\x85R."), r"calls '__torch__.\\x1b\[2J.M' in a way"),
        (archive(b"\x80\x02cevil\n" + b"x" * 10**6 + b"\n."), "'evil.x{195}…', which is no tensor"),
        (archive(b"\x80\x02NQ."), "points to something else"),
        (archive(b"\x80\x02ctorch\nFloatStorage\n)R."), "calls .torch.FloatStorage. in a way"),
        (archive(b"\x80\x02c__torch__.M\nM\nK\x01\x85R."), "calls .__torch__.M.M. in a way"),
        (archive(tensor(length=2)), "does not lie within .archive/data/0"),
        (archive(tensor(offset=1)), "does not lie within .archive/data/0"),
        (archive(tensor(size=2)), "does not lie within .archive/data/0"),
        (archive(tensor(size=0)), "does not lie within .archive/data/0"),
        (archive(tensor(size=200, stride=0)), "take more room than the file has"),
        (archive(tensor().replace(b"K\x01t(", b"J\xff\xff\xff\xfft(")), "a size that none can have"),
        (archive(tensor().replace(b"\x01\0\0\x000X", b"\x01\0\0\x007X")), "there is no data/.7"),
        (archive(tensor(), compression=zipfile.ZIP_DEFLATED), "the compressed .archive/data.pkl"),
        (archive(b" " * (MAX_PICKLE + 1)), "a data.pkl above"),
        (archive(nested(MAX_DEPTH + 1)), "modules without end"),
        (archive(b"\x80\x02" + doubled(40) + b"."), "modules without end"),
        (archive(ITSELF), "modules without end"),
        (
            archive(b"\x80\x02}" + b"".join(b"J%sNs" % struct.pack("<i", n) for n in range(MAX_VALUES + 1)) + b"."),
            "end",
        ),
    ],
)
def test_what_is_damaged_or_hostile_is_said_in_a_sentence(data: bytes, reason: str) -> None:
    with pytest.raises(Failure, match=reason) as caught:
        read(data)
    assert str(caught.value).startswith("weights.pt ")
    assert "\n" not in str(caught.value)


def test_the_archives_of_these_tests_are_read_where_nothing_is_wrong() -> None:
    assert read(archive(tensor())) == {"w": torch.tensor([1.5])}
    assert read(archive(nested(MAX_DEPTH))) == {}


@pytest.mark.parametrize("place", range(0, 100, 7))
def test_a_flipped_byte_is_found_or_harms_nothing(place: int) -> None:
    data = bytearray(saved({"w": torch.arange(64.0)}))
    at = place * len(data) // 100
    data[at] ^= 0x10
    try:
        (found,) = read(bytes(data)).values()  # perhaps under another name, which the model will miss
    except Failure as error:
        assert str(error).startswith("weights.pt ")
    else:
        assert torch.equal(found, torch.arange(64.0))
