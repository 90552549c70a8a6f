"""What bytes are that are no picture in a format which is read: by how they begin, for a person to read."""

from __future__ import annotations

import re

# Formats of pictures: (where, bytes, name).
_PICTURES = (
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"II\xbc", "JPEG XR"),
    (0, b"8BPS", "Photoshop"),
    (0, b"%!PS", "PostScript"),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript"),
    (0, b"\xd7\xcd\xc6\x9a", "WMF"),
    (40, b" EMF", "EMF"),
    (0, b"DDS ", "DDS"),
    (0, b"gimp xcf", "XCF"),
    (0, b"FLIF", "FLIF"),
    (0, b"BPG\xfb", "BPG"),
    (0, b"qoif", "QOI"),
    (0, b"\x8aMNG\r\n\x1a\n", "MNG"),
    (0, b"\x8bJNG\r\n\x1a\n", "JNG"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"AT&TFORM", "DjVu"),
    (0, b"\x59\xa6\x6a\x95", "Sun raster"),
    (0, b"/* XPM */", "XPM"),
)
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_STILL = {b"mif1", b"msf1", b"mif2"}  # of the HEIF family, whatever codes the pixels
_AVIF = {b"avif", b"avis"}
_PNM = re.compile(rb"P[1-7F][\s#]")
_PCX = re.compile(rb"\x0a[\0\2-\5][\0\1][\1\2\4\x08]")
_TGA_END = b"TRUEVISION-XFILE.\0"  # of the format's second version; the first cannot be told by its bytes

# What is no picture at all.
_OTHERS = (
    (0, b"%PDF-", "PDF document"),
    (0, b"\x1a\x45\xdf\xa3", "WebM or Matroska video"),
    (8, b"AVI ", "AVI video"),
    (0, b"FLV\x01", "Flash video"),
    (0, b"FWS", "Flash"),
    (0, b"CWS", "Flash"),
    (0, b"ZWS", "Flash"),
    (0, b"OggS", "Ogg media"),
    (0, b"ID3", "MP3 audio"),
    (0, b"\0\0\1\xba", "MPEG video"),
    (0, b"\0\0\1\xb3", "MPEG video"),
    (0, b"PK\3\4", "ZIP archive"),
    (0, b"Rar!", "RAR archive"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"wOFF", "web font"),
    (0, b"wOF2", "web font"),
)
_HTML = re.compile(
    rb"\s*(?:<\?xml[^>]{0,200}>\s*)?(?:<!--[^>]{0,1000}-->\s*)?"
    rb"<(?:!doctype\s+html|(?:html|head|body|script|meta|title)\b)",
    re.IGNORECASE,
)
_XML = re.compile(rb"\s*<\?xml\b")
_JSON = re.compile(rb"\s*[{\[]\s*[\"{\[\]}0-9]")
_LOOKED_AT = 4096  # bytes


def picture_format(body: bytes) -> str:
    """The name of a format of pictures that is not read; empty where the bytes begin like none of those known."""
    if body[4:8] == b"ftyp":
        brands = _brands(body)
        if brands & _AVIF:
            return ""
        return "HEIC" if brands & _HEIC else "HEIF" if brands & _STILL else ""
    if _is_icon(body):
        return "ICO" if body[2] == 1 else "CUR"
    if body[:4] == b"RIFF" and body[8:12] == b"ACON":
        return "ANI"
    if _PNM.match(body):
        return "PNM"
    if _PCX.match(body):
        return "PCX"
    if body.endswith(_TGA_END):
        return "TGA"
    return next((name for at, start, name in _PICTURES if body.startswith(start, at)), "")


def other_kind(body: bytes) -> str:
    """What bytes are that are no picture: "HTML page", "MP4 video" …; empty where that cannot be told."""
    if body[4:8] == b"ftyp":
        return "" if _brands(body) & _AVIF else "MP4 or QuickTime video"
    head = body[:_LOOKED_AT].removeprefix(b"\xef\xbb\xbf")
    for pattern, name in ((_HTML, "HTML page"), (_XML, "XML"), (_JSON, "JSON")):
        if pattern.match(head):
            return name
    known = next((name for at, start, name in _OTHERS if body.startswith(start, at)), "")
    return known or ("text" if _is_text(head) else "")


def _brands(body: bytes) -> set[bytes]:
    """The brands of a file of boxes (ISO/IEC 14496-12, 4.3), its own and those that it is compatible with."""
    length = min(int.from_bytes(body[:4], "big"), _LOOKED_AT)
    return {body[8:12], *(body[at : at + 4] for at in range(16, min(length, len(body)), 4))}


def _is_icon(body: bytes) -> bool:
    """Whether it begins like a Windows icon or cursor that has as many pictures as it says room for."""
    count = int.from_bytes(body[4:6], "little")
    return body[:4] in (b"\0\0\1\0", b"\0\0\2\0") and 0 < count < 256 and len(body) >= 6 + 16 * count


def _is_text(head: bytes) -> bool:
    """Whether bytes read as UTF-8 without control characters; the last character may be cut."""
    text = head.decode("utf-8", "replace").rstrip("\ufffd")
    return bool(text) and all(c.isprintable() or c in "\t\r\n\f" for c in text) and "\ufffd" not in text
