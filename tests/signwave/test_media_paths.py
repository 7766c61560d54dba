"""Only local regular files reach a decoder."""

import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from signwave.errors import MediaError
from signwave.media.audio import read_audio
from signwave.media.paths import local_file, local_folder, split_member
from signwave.media.poses import read_pose
from signwave.media.video import open_video
from signwave.testing.corruption import encode_numbered

NAMES = (
    "http:{host}/a.mp4",
    "http://{host}/a.mp4",
    "HTTPS://{host}/a.mp4",
    "tcp://{host}",
    "concat:{good}|{good}",
    "subfile,,start,0,end,100,,:{good}",
    "file:{good}",
    "data:video/mp4;base64,AAAA",
    "pipe:0",
    "crypto+http://{host}/a.mp4",
)
BODIES = (
    "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://{host}/a.ts\n#EXT-X-ENDLIST\n",
    "\ufeff\n#EXTM3U\nhttp://{host}/a.ts\n",
    "ffconcat version 1.0\nfile 'http://{host}/a.mp4'\n",
    '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>http://{host}/</BaseURL></MPD>',
    "[playlist]\nFile1=http://{host}/a.mp4\n",
    "http://{host}/a.mp4\n",
)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode_numbered(tmp_path_factory.mktemp("good") / "good.mp4", 5)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, list[str]]]:
    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{listening.server_port}", requests
        listening.shutdown()


@pytest.mark.parametrize("backend", ["pyav", "decord", "auto"])
@pytest.mark.parametrize("name", NAMES)
def test_protocols_are_refused_without_a_request(
    name: str, backend: str, good: Path, server: tuple[str, list[str]]
) -> None:
    host, requests = server
    path = name.format(host=host, good=good)
    with pytest.raises(MediaError, match="only local files") as caught:
        open_video(path, backend=backend)  # type: ignore[arg-type]
    assert caught.value.kind == "refused"
    assert "\n" not in str(caught.value)
    with pytest.raises(MediaError, match="only local files"):
        read_audio(path)
    with pytest.raises(MediaError, match="only local files"):
        read_pose(path, layout="hands")
    assert requests == []


@pytest.mark.parametrize("backend", ["pyav", "decord"])
@pytest.mark.parametrize("body", BODIES)
def test_playlists_are_refused_whatever_they_are_called(
    body: str, backend: str, tmp_path: Path, server: tuple[str, list[str]]
) -> None:
    host, requests = server
    path = tmp_path / "clip.mp4"
    path.write_text(body.format(host=host), encoding="utf-8")
    with pytest.raises(MediaError, match="playlist") as caught:
        open_video(path, backend=backend).frames()  # type: ignore[arg-type]
    assert caught.value.kind == "refused"
    with pytest.raises(MediaError, match="playlist"):
        read_audio(path)
    assert requests == []


def test_missing_folder_and_device(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="does not exist") as caught:
        local_file(tmp_path / "none.mp4")
    assert caught.value.kind == "missing"
    with pytest.raises(MediaError, match="folder where one file is meant"):
        local_file(tmp_path)
    with pytest.raises(MediaError, match="no folder"):
        local_folder(__file__)
    with pytest.raises(MediaError, match="no file name"):
        local_file("a\0b.mp4")
    with pytest.raises(MediaError, match="no file name"):
        local_file("")
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(MediaError, match="only regular files"):
        local_file(tmp_path / "pipe.wav")


def test_links_loops_and_odd_names(tmp_path: Path, good: Path) -> None:
    (tmp_path / "link.mp4").symlink_to(good)
    assert local_file(tmp_path / "link.mp4") == good.resolve()
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    with pytest.raises(MediaError, match="does not exist"):
        local_file(tmp_path / "loop.mp4")
    odd = tmp_path / "-i http:x, ü.mp4"
    odd.write_bytes(good.read_bytes())
    with open_video(odd) as video:
        assert len(video.frames()) == 5


def test_relative_name_with_a_colon_is_reachable_with_a_dot(
    tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "take:1.mp4").write_bytes(good.read_bytes())
    with pytest.raises(MediaError, match=r"write \./NAME"):
        open_video("take:1.mp4")
    with open_video("./take:1.mp4") as video:
        assert len(video.frames()) == 5


def test_split_member() -> None:
    assert split_member("a.zip::b/c") == ("a.zip", "b/c")
    assert split_member(Path("a.zip")) == ("a.zip", None)
