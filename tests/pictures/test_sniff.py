"""What bytes are, by how they begin."""

import io

import pytest
from PIL import Image

from pictures.sniff import other_kind, picture_format


def encode(kind: str) -> bytes:
    to = io.BytesIO()
    Image.new("RGB", (32, 32)).save(to, kind)
    return to.getvalue()


def boxes(*brands: bytes) -> bytes:
    """A file of boxes, with its own brand and those that it is compatible with."""
    return (16 + 4 * len(brands[1:])).to_bytes(4, "big") + b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (boxes(b"heic", b"mif1", b"heic"), "HEIC"),  # iPhones
        (boxes(b"mif1", b"mif1", b"heic"), "HEIC"),
        (boxes(b"heix", b"mif1"), "HEIC"),
        (boxes(b"msf1", b"hevc"), "HEIC"),
        (boxes(b"mif1", b"miaf"), "HEIF"),
        (boxes(b"avif", b"mif1", b"miaf"), ""),
        (boxes(b"mif1", b"avif"), ""),
        (boxes(b"isom", b"avc1", b"mp41"), ""),
        (b"\xff\x0a\xfa\x1f\x01", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl ", "JPEG XL"),
        (encode("JPEG2000"), "JPEG 2000"),
        (b"\xff\x4f\xff\x51\0\x2f", "JPEG 2000"),
        (encode("ICO"), "ICO"),
        (encode("ICO")[:2] + b"\2" + encode("ICO")[3:], "CUR"),
        (b"\0\0\1\0\0\0", ""),
        (b"\0\0\1\0\xff\0" + bytes(100), ""),  # room for none of its pictures
        (b"II\xbc\x01\x20\0\0\0", "JPEG XR"),
        (b"8BPS\0\1", "Photoshop"),
        (encode("EPS"), "PostScript"),
        (b"\xd7\xcd\xc6\x9a\0\0", "WMF"),
        (b"\x01\0\0\0\x6c\0\0\0" + bytes(32) + b" EMF", "EMF"),
        (encode("DDS"), "DDS"),
        (b"gimp xcf v011\0", "XCF"),
        (b"FLIF1\x31", "FLIF"),
        (b"BPG\xfb\0", "BPG"),
        (b"qoif\0\0\0\x20", "QOI"),
        (encode("PCX"), "PCX"),
        (encode("PPM"), "PNM"),
        (encode("TGA") if encode("TGA").endswith(b"TRUEVISION-XFILE.\0") else b"", "TGA"),
        (b"SIMPLE  =                    T", "FITS"),
        (b"AT&TFORM\0\0", "DjVu"),
        (b"RIFF\x10\0\0\0ACON", "ANI"),
        (encode("JPEG"), ""),
        (encode("PNG"), ""),
        (encode("WEBP"), ""),
        (b"<!DOCTYPE html>", ""),
        (b"", ""),
    ],
)
def test_pictures_that_are_not_read(body: bytes, name: str) -> None:
    assert picture_format(body) == name


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b"<!DOCTYPE html><title>Not found</title>", "HTML page"),
        (b"\xef\xbb\xbf\r\n<HTML lang=en><head>", "HTML page"),
        (b"<!-- cached -->\n<html>", "HTML page"),
        (b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML">', "HTML page"),
        (b"<script>location='/'</script>", "HTML page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML"),
        (b'{"error": "not found"}', "JSON"),
        (b"[]", "JSON"),
        (b"%PDF-1.7\n", "PDF document"),
        (boxes(b"isom", b"avc1"), "MP4 or QuickTime video"),
        (boxes(b"qt  "), "MP4 or QuickTime video"),
        (boxes(b"avif"), ""),
        (b"\x1a\x45\xdf\xa3\x9f\x42", "WebM or Matroska video"),
        (b"RIFF\x10\0\0\0AVI LIST", "AVI video"),
        (b"CWS\x0a\x10\0", "Flash"),
        (b"PK\3\4\x14\0", "ZIP archive"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"Not found", "text"),
        ("nicht gefunden: schön".encode()[:-1], "text"),
        (b"\0\1\2\3", ""),
        (b"caf\xe9 and more", ""),
        (b"", ""),
    ],
)
def test_what_is_no_picture(body: bytes, name: str) -> None:
    assert other_kind(body) == name
