"""Frame folders and zip archives as videos."""

import io
import stat
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from signwave.errors import MediaError
from signwave.media.images import natural_key
from signwave.media.limits import Limits
from signwave.media.video import open_video, probe
from signwave.testing.corruption import encode_numbered, numbered_frame, read_number

NUM_FRAMES = 12


def png(number: int, *, height_px: int = 48, width_px: int = 64, mode: str = "RGB", kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(numbered_frame(number, height_px=height_px, width_px=width_px)).convert(mode).save(out, kind)
    return out.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "01April_2010_Thursday_heute-6694"
    path.mkdir()
    for number in range(NUM_FRAMES):
        (path / f"01April.avi_pid0_fn{number}-0.png").write_bytes(png(number))
    (path / ".hidden.png").write_bytes(b"no picture")
    (path / "Thumbs.db").write_bytes(b"no picture")
    (path / "more.png").mkdir()
    return path


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as out:
        for name, data in members.items():
            out.writestr(name, data)
    return path


def numbers(path: object, **settings: object) -> list[int]:
    with open_video(str(path), **settings) as video:  # type: ignore[arg-type]
        return [read_number(frame) for frame in video.frames().pixels]


def test_natural_order() -> None:
    names = ["f10.png", "f9.png", "F1.png", "images0002.png", "images0010.png", "f9a.png", "²3.png"]
    assert sorted(names, key=natural_key)[:4] == ["F1.png", "f9.png", "f9a.png", "f10.png"]


def test_a_folder_of_frames(folder: Path) -> None:
    with open_video(folder, fps=25, size_px=(24, 32)) as video:
        frames = video.frames()
        assert [read_number(frame) for frame in frames.pixels] == list(range(NUM_FRAMES))
        assert frames.pixels.shape == (NUM_FRAMES, 3, 24, 32)
        np.testing.assert_allclose(frames.pts_seconds, np.arange(NUM_FRAMES) / 25)
        assert [read_number(frame) for frame in video.frames_at([11, 2, 2]).pixels] == [11, 2, 2]
        assert [read_number(frame) for frame in video.frames(0.08, 0.2).pixels] == [2, 3, 4]
        assert [read_number(frame) for frame in video.frames_at_seconds([0.0, 0.1, 0.47]).pixels] == [0, 2, 11]
    info = probe(folder, fps=10)
    assert (info.num_frames, info.fps, info.height_px, info.width_px) == (NUM_FRAMES, 10, 48, 64)
    assert info.duration_seconds == pytest.approx(1.2)


@pytest.mark.parametrize(
    ("mode", "kind"), [("RGB", "JPEG"), ("L", "PNG"), ("P", "PNG"), ("RGBA", "PNG"), ("CMYK", "JPEG")]
)
def test_kinds_of_pictures(mode: str, kind: str, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.{'jpg' if kind == 'JPEG' else 'PNG'}").write_bytes(png(number, mode=mode, kind=kind))
    assert numbers(tmp_path) == [0, 1, 2]


def test_zip_of_frames_and_of_a_video(tmp_path: Path) -> None:
    clip = encode_numbered(tmp_path / "clip.mp4", 8).read_bytes()
    members = {f"corpus/a/{i}.png": png(i) for i in range(11)} | {f"corpus/b/{i}.png": png(100 + i) for i in range(3)}
    path = archive(tmp_path / "all.zip", {**members, "corpus/clip.mp4": clip, "__MACOSX/a/._1.png": b""})
    assert numbers(f"{path}::corpus/a") == list(range(11))
    assert numbers(f"{path}::corpus/b/") == [100, 101, 102]
    assert numbers(f"{path}::corpus/clip.mp4") == list(range(8))
    with pytest.raises(MediaError, match=r"2 folders .corpus/a, corpus/b"):
        numbers(path)
    with pytest.raises(MediaError, match="holds no"):
        numbers(f"{path}::elsewhere")
    single = archive(tmp_path / "one.zip", {f"x/{i}.png": png(i) for i in range(3)})
    assert numbers(single) == [0, 1, 2]


def test_damaged_pictures(folder: Path) -> None:
    broken = folder / "01April.avi_pid0_fn5-0.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(MediaError, match="5 of 12 frames") as caught:
        numbers(folder)
    assert caught.value.kind == "truncated"
    assert "fn5" in str(caught.value)
    assert numbers(folder, on_short="keep") == [0, 1, 2, 3, 4]
    broken.write_bytes(b"")
    with pytest.raises(MediaError, match="5 of 12 frames"):
        numbers(folder)
    broken.write_bytes(png(5, height_px=60))
    with pytest.raises(
        MediaError, match=r"fn5-0\.png is 64 x 60 pixels where the first frame is 64 x 48; pass size_px"
    ):
        numbers(folder)
    assert numbers(folder, size_px=(48, 64)) == list(range(NUM_FRAMES))


def test_a_file_that_is_no_picture_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(b"garbage")
    with pytest.raises(MediaError, match=r"picture \(neither PNG nor JPEG\)"), open_video(tmp_path) as video:
        list(video.iter_frames())


def test_empty_folder_and_wrong_rate(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"holds no \.png") as caught:
        numbers(tmp_path)
    assert caught.value.kind == "empty"
    with pytest.raises(ValueError, match="fps"):
        open_video(tmp_path, fps=0)


def test_a_picture_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (tmp_path / "0.png").write_bytes(data)
    with pytest.raises(MediaError, match=r"60000 x 60000|exceeds limit"):
        numbers(tmp_path)
    (tmp_path / "0.png").write_bytes(png(0))
    with pytest.raises(MediaError, match="64 x 48 pixels") as caught:
        numbers(tmp_path, limits=Limits(max_pixels=100))
    assert caught.value.kind == "too_large"


@pytest.mark.parametrize("name", ["../0.png", "/abs/0.png", "a/../../0.png", "a\\0.png"])
def test_unsafe_member_names(name: str, tmp_path: Path) -> None:
    path = archive(tmp_path / "bad.zip", {"ok/0.png": png(0), name: png(1)})
    with pytest.raises(MediaError, match="unsafe or repeated name") as caught:
        numbers(path)
    assert caught.value.kind == "refused"


def test_links_repeats_bombs_and_damage_in_archives(tmp_path: Path) -> None:
    path = tmp_path / "link.zip"
    with zipfile.ZipFile(path, "w") as out:
        link = zipfile.ZipInfo("0.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        out.writestr(link, "/etc/passwd")
    with pytest.raises(MediaError, match="unsafe"):
        numbers(path)

    with zipfile.ZipFile(path, "w") as out:
        out.writestr("0.png", png(0))
        with pytest.warns(UserWarning, match="Duplicate"):
            out.writestr("0.png", png(1))
    with pytest.raises(MediaError, match="repeated"):
        numbers(path)

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("0.png", bytes(50_000_000))
    with pytest.raises(MediaError, match="bomb"):
        numbers(path)
    with pytest.raises(MediaError, match="max_bytes"):
        numbers(path, limits=Limits(max_bytes=1000))

    good = archive(tmp_path / "good.zip", {f"{i}.png": png(i) for i in range(4)})
    data = bytearray(good.read_bytes())
    data[data.index(b"2.png") + 40] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(MediaError, match="2 of 4 frames"):
        numbers(path)
    path.write_bytes(data[:-30])
    with pytest.raises(MediaError, match=r"link\.zip"):
        numbers(path)
