"""WordNet's database, wherever it lies."""

import io
import lzma
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from core.errors import Failure, UsageError
from pipeline.text.wordnet import Synset, synsets

LICENCE = "  1 This software and database is being provided to you.  \n"
FILES = {
    "data.noun": LICENCE
    + "00001740 03 n 01 entity 0 003 ~ 00001930 n 0000 | that which exists  \n"
    + "09119277 15 n 03 New_York 0 New_York_City 0 Greater_New_York 0 001 @i 08524735 n 0000 | the largest city  \n",
    "data.verb": LICENCE + "00001740 29 v 02 breathe 0 take_a_breath 0 001 * 00005041 v 0000 01 + 02 00 | draw air  \n",
    "data.adj": LICENCE + "00004171 00 s 01 moribund(p) 0 001 & 00003939 a 0000 | on the point of death  \n",
    "data.adv": LICENCE + "00001740 02 r 0b a 0 b 0 c 0 d 0 e 0 f 0 g 0 h 0 i 0 j 0 K 0 000 | eleven words  \n",
}
EXPECTED = [
    Synset("s", ("moribund",)),
    Synset("r", ("a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "K")),
    Synset("n", ("entity",)),
    Synset("n", ("New York", "New York City", "Greater New York")),
    Synset("v", ("breathe", "take a breath")),
]


def tar(files: dict[str, str], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, text in files.items():
            member = tarfile.TarInfo(f"./usr/share/wordnet/{name}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return out.getvalue()


def deb(data: bytes, name: str = "data.tar.xz") -> bytes:
    def member(name: str, content: bytes) -> bytes:
        return (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
            + content
            + b"\n" * (len(content) % 2)
        )

    return b"!<arch>\n" + member("debian-binary", b"2.0\n") + member("control.tar.xz", b"odd") + member(name, data)


def test_folder_zip_tar_and_package_say_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "WordNet-3.0" / "dict"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "wordnet.zip", "w") as archive:
        for name, text in FILES.items():
            (folder / name).write_text(text)
            archive.writestr(f"wordnet/{name}", text)
    (tmp_path / "w.tar.gz").write_bytes(tar(FILES, "w:gz"))
    (tmp_path / "w.deb").write_bytes(deb(lzma.compress(tar(FILES))))
    for name in ("WordNet-3.0", "wordnet.zip", "w.tar.gz", "w.deb"):
        assert list(synsets(str(tmp_path / name))) == EXPECTED, name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tar({"data.noun": FILES["data.noun"]}), "holds no data.adj, data.adv, data.verb"),
        (b"no archive", "cannot be read as an archive"),
        (deb(b"zstd", "data.tar.zst"), "cannot be read as an archive"),
        (deb(lzma.compress(tar(FILES))[:-100]), "cannot be read as an archive"),
        (deb(b"", "other"), "package without data"),
        (b"PK\x05\x06" + b"\0" * 18, "holds no data.adj"),
    ],
)
def test_what_is_no_wordnet(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "w"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        list(synsets(str(path)))
    with pytest.raises(UsageError, match="holds no data"):
        list(synsets(str(tmp_path)))
    with pytest.raises(Failure, match="is not there"):
        list(synsets(str(tmp_path / "none")))


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    for line in ("00001740 03 n 02 entity 0", "x", "00001740 03 n zz entity 0"):
        (tmp_path / "w").write_bytes(tar({**FILES, "data.noun": LICENCE + line + "\n"}))
        with pytest.raises(Failure, match=r"line 2 of data\.noun"):
            list(synsets(str(tmp_path / "w")))


def test_wordnet_3_0(data: Path) -> None:
    found = list(synsets(str(next((data / "queries").glob("wordnet*.deb")))))
    kinds = Counter(synset.part_of_speech for synset in found)
    assert kinds == {"n": 82_115, "v": 13_767, "a": 7_463, "s": 10_693, "r": 3_621}
    assert Synset("n", ("Saint Louis", "St. Louis", "Gateway to the West")) in found
    assert not any("_" in lemma or lemma.endswith(")") for synset in found for lemma in synset.lemmas)
