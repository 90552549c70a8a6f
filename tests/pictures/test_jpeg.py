"""JPEG files without an end marker: those that lack nothing else, and those that do."""

import io
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pictures.jpeg import END, with_end

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)).resize((160, 120))
SCENES = {
    "photo": NOISE,
    "grey": NOISE.convert("L"),
    "printer's": NOISE.convert("CMYK"),
    "ramp": Image.linear_gradient("L").convert("RGB"),
    "flat": Image.new("RGB", (320, 240), "red"),
}
WAYS: dict[str, dict[str, object]] = {
    "plain": {},
    "fine": {"quality": 100, "subsampling": 0},
    "optimised": {"optimize": True},
    "restarts": {"restart_marker_rows": 1},
    "progressive": {"progressive": True},
}


def jpeg(scene: Image.Image, **options: object) -> bytes:
    to = io.BytesIO()
    scene.save(to, "JPEG", **options)
    return to.getvalue()


def shown(body: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(body)))


def visibly_cut(body: bytes, whole: bytes) -> bool:
    """Whether libjpeg, told to go on, shows something else than the whole file."""
    try:
        return not np.array_equal(shown(body + END), shown(whole))
    except OSError:
        return True


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scene", SCENES)
def test_a_file_without_its_end_marker_is_whole_and_a_shorter_one_is_not(scene: str, way: str) -> None:
    whole = jpeg(SCENES[scene], **WAYS[way])
    assert whole.endswith(END)
    for rest in (b"", b"\xff", b"\xff\xff\xff", b"\r\n", bytes(100)):
        mended = with_end(whole[:-2] + rest)
        assert mended is not None and np.array_equal(shown(mended), shown(whole))
    cuts = [whole[:at] for at in (-3, -4, -6, -10, -20, -50, -len(whole) // 4, -len(whole) // 2, -len(whole) + 300)]
    told = [with_end(cut) is None for cut in cuts if visibly_cut(cut, whole)]
    assert all(told) and len(told) >= 5


def test_a_progressive_file_cut_between_its_scans_is_not_whole() -> None:
    """Each of these shows a complete, but blurred picture."""
    whole = jpeg(NOISE, progressive=True)
    scans = [at for at in range(len(whole)) if whole[at : at + 2] == b"\xff\xda"]
    assert len(scans) == 10
    tables = [whole.rfind(b"\xff\xc4", scans[i - 1], at) for i, at in enumerate(scans) if i]
    for at in {*scans[1:], *(found for found in tables if found > 0)}:
        assert not np.array_equal(shown(whole[:at] + END), shown(whole))
        assert with_end(whole[:at]) is None, at


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff\xd8", b"\xff\xd8\xff\xe0\0\0", b"\xff\xd8\xff\xe0\0\x10JF", b"\xff\xd8\xff\xda\0\x02", b"GIF89a"],
)
def test_what_has_no_scan_is_not_whole(body: bytes) -> None:
    assert with_end(body) is None


@pytest.mark.parametrize(
    "segment",
    [
        b"\xff\xc2\x02\xff\x08\0\x10\0\x10\xff" + bytes(range(250)) * 3 + bytes(5),
        b"\xff\xda\0\x08\x01\x01\0\0\0\x10",
        b"\xff\xda\x02\x04\xff" + bytes(513),
        b"\xff\xfe\0\x02",
    ],
)
def test_headers_without_end_take_no_time(segment: bytes) -> None:
    frame = b"\xff\xd8\xff\xc2\0\x0b\x08\0\x10\0\x10\x01\x01\x11\0"
    begun = time.process_time()
    assert with_end(frame + segment * (4_000_000 // len(segment))) is None
    assert time.process_time() - begun < 2


def test_real_photographs(data: Path) -> None:
    photographs = sorted((data / "web").rglob("*.jpg"))[::30]
    assert len(photographs) > 15
    for path in photographs:
        body = path.read_bytes()
        end = body.rfind(END)
        mended = with_end(body[:end])
        assert mended is not None and np.array_equal(shown(mended), shown(body)), path
        assert with_end(body[: end - 40]) is None, path
