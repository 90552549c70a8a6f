"""Pictures of strangers, opened to be asked about."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from core.errors import Failure
from dedup.pictures import read_picture
from tests.dedup.made import scene


def saved(kind: str, **options: Any) -> io.BytesIO:
    to = io.BytesIO()
    scene(1).save(to, kind, **options)
    to.seek(0)
    return to


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_exif_that_cannot_be_read_turns_nothing(kind: str) -> None:
    broken = read_picture(saved(kind, exif=b"Exif\0\0no TIFF at all"), "a picture")
    assert np.array_equal(np.asarray(broken), np.asarray(read_picture(saved(kind), "a picture")))


def test_what_fetch_would_not_open_is_not_opened_here() -> None:
    with pytest.raises(Failure, match=r"^scan\.tga is no picture that can be decoded .*: give another$"):
        read_picture(saved("TGA"), "scan.tga")


def test_netpbm_in_which_evaluation_sets_come_is_opened() -> None:
    assert np.array_equal(np.asarray(read_picture(saved("PPM"), "1.ppm")), np.asarray(scene(1)))
