"""What the demo evaluates with: pictures of every class in a tar, and their labels; a few are on the web as well."""

from __future__ import annotations

import io
import tarfile
from random import Random

from demo.pictures import CLASSES, Picture, imagine
from demo.plan import Size, body_of
from demo.scenes import DISTINCT

SIDES = 96, 128  # pixels, smallest and largest


def pictures(seed: int, size: Size) -> dict[str, Picture]:
    """By their names in the tar, which say nothing of the classes."""
    held_out = [
        imagine(seed, f"{thing.name} evaluation {i}", thing, *SIDES)
        for thing in CLASSES
        for i in range(size.evaluation)
    ]
    rng = Random(f"{seed} evaluation")
    leaks = [
        imagine(seed, f"leak {i}", rng.choice(CLASSES), *SIDES)._replace(scene=rng.choice(DISTINCT))
        for i in range(size.leaks)
    ]
    chosen = [*held_out, *leaks]
    rng.shuffle(chosen)
    return {f"{number:04d}.png": picture for number, picture in enumerate(chosen, start=1)}


def leaking(seed: int, size: Size) -> dict[str, Picture]:
    """Those of them that are on the web."""
    return {name: picture for name, picture in pictures(seed, size).items() if picture.name.startswith("leak ")}


def tar_of(chosen: dict[str, Picture]) -> bytes:
    """The pictures as PNG in a tar."""
    to = io.BytesIO()
    with tarfile.open(fileobj=to, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, picture in chosen.items():
            body = body_of(picture, "png")
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return to.getvalue()


def labels_of(chosen: dict[str, Picture]) -> bytes:
    """Lines of a name, a tab and a class."""
    return "".join(f"{name}\t{picture.thing.name}\n" for name, picture in chosen.items()).encode()
