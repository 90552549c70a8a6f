"""Asking the near-duplicate index: which images of a set look like this picture?

python -m dedup query PICTURE --recipe recipes/real.toml        (= openwit query PICTURE …)
python -m dedup query PICTURE --index out/real/5_dedup/index
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from dedup.allpairs import K64, K256
from dedup.hashes import fingerprints
from dedup.index import MAX_K, Index
from shards import command
from shards.errors import Failure, UsageError
from shards.files import join
from shards.recipe import read


def main(argv: Sequence[str] | None = None) -> int:
    """The command line: a match a line, nearest first; exit status 0 also where nothing matches."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] != "query":
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    parser = command.arguments("query", __doc__ or "")
    parser.add_argument("picture", help="an image file")
    parser.add_argument("--index", help="folder of the index; default: that of the recipe's dedup stage")
    parser.add_argument("--distance", type=int, default=K64, choices=range(MAX_K + 1), help="differing bits of 64")
    options = parser.parse_args(words[1:])

    def work() -> None:
        index = options.index or join(read(options.recipe, options.set).folder("dedup"), "index")
        query(options.picture, index, options.distance)

    return command.guarded("query", work, options.debug)


def query(picture: str, folder: str, distance: int) -> None:
    """Print the images of an index that look like a picture."""
    index = Index.open(folder)
    try:
        with Image.open(picture) as image:
            asked = as_stored(image)
    except FileNotFoundError:
        raise UsageError(f"there is no picture {picture}: give the path of an image file") from None
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise Failure(f"{picture} is no picture that can be decoded ({error}): give another") from error
    matches = index.query_image(asked, distance)
    for match in matches:
        print(f"{match.image_id}  {match.d64} of 64 and {match.d256} of 256 bits differ")
    if fingerprints([asked])["flags"][0]:
        print(f"{picture} is too flat to be told from others by its hash")
    elif not matches:
        print(f"none of {len(index)} images is within {distance} of 64 and {K256} of 256 bits")


def as_stored(image: Image.Image) -> Image.Image:
    """A picture as fetch makes it before it is hashed: upright, over white, eight bits a channel."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


if __name__ == "__main__":
    raise SystemExit(main())
