"""Downloading, against a server of our own that behaves well and badly."""

import hashlib
import io
import json
import re
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from shufflenet_det.data import COCO_2017, coco, download_coco, require_dataset_files
from shufflenet_det.data.coco import Archive

FILES = {f"val2017/{i:012d}.jpg": bytes([i]) * 5_000 for i in range(1, 9)}


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


CONTENT = zipped(FILES)


class Server(ThreadingHTTPServer):
    """Serves ``content``; what it does wrong is set by the attributes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.ranges = True  # whether Range is understood
        self.cuts: list[int] = []  # after how many bytes each of the next answers ends
        self.statuses: list[int] = []  # of the next answers, instead of the file
        self.requests: list[str | None] = []  # the Range headers that came

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/zips/val2017.zip"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        asked = self.headers.get("Range")
        server.requests.append(asked)
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        start, total = 0, len(server.content)
        if asked and server.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(total - start))
        self.end_headers()
        body = server.content[start:]
        self.wfile.write(body[: server.cuts.pop(0)] if server.cuts else body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(coco.time, "sleep", lambda seconds: None)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def parts(server: Server, content: bytes = CONTENT, **changes: object) -> dict[str, Archive]:
    md5 = hashlib.md5(content).hexdigest()
    archive = Archive(server.url, len(content), md5, files=len(FILES), unpacked=40_000)
    return {"val2017": archive._replace(**changes)}


def is_whole(root: Path) -> bool:
    found = {f"val2017/{p.name}": p.read_bytes() for p in root.glob("val2017/*")}
    return found == FILES


def test_a_download_ends_with_the_folder_alone(server, tmp_path):
    assert download_coco(tmp_path / "coco", archives=parts(server)) == tmp_path / "coco"
    assert is_whole(tmp_path / "coco")
    assert [p.name for p in (tmp_path / "coco").iterdir()] == ["val2017"]


def test_what_is_there_is_not_fetched_again(server, tmp_path):
    for _ in range(2):
        download_coco(tmp_path, archives=parts(server))
    assert server.requests == ["bytes=0-"]


def test_archives_are_kept_on_request_and_used_again(server, tmp_path):
    download_coco(tmp_path, archives=parts(server), keep_archives=True)
    assert (tmp_path / "val2017.zip").read_bytes() == CONTENT
    (tmp_path / "val2017").rename(tmp_path / "elsewhere")
    download_coco(tmp_path, archives=parts(server))
    assert is_whole(tmp_path) and len(server.requests) == 1
    assert (tmp_path / "val2017.zip").exists()


def test_a_cut_connection_is_resumed(server, tmp_path):
    server.cuts = [1_000, 2_000]
    download_coco(tmp_path, archives=parts(server))
    assert server.requests == ["bytes=0-", "bytes=1000-", "bytes=3000-"]
    assert is_whole(tmp_path)


def test_a_stopped_download_goes_on_in_the_next_run(server, tmp_path):
    (tmp_path / "val2017.part.zip").write_bytes(CONTENT[:12_345])
    download_coco(tmp_path, archives=parts(server))
    assert server.requests == ["bytes=12345-"]
    assert is_whole(tmp_path)


def test_a_server_without_ranges_starts_anew(server, tmp_path):
    server.ranges, server.cuts = False, [1_000]
    download_coco(tmp_path, archives=parts(server))
    assert server.requests == ["bytes=0-", "bytes=1000-"]
    assert is_whole(tmp_path)


@pytest.mark.parametrize("ranges", [True, False])
def test_failures_without_progress_end_in_one_sentence(server, tmp_path, ranges):
    server.ranges, server.cuts = ranges, [1_000] + [0 if ranges else 1_000] * 50
    with pytest.raises(ConnectionError, match="Run the same command to resume"):
        download_coco(tmp_path, archives=parts(server))
    assert (tmp_path / "val2017.part.zip").read_bytes() == CONTENT[:1_000]
    assert not (tmp_path / "val2017").exists()
    server.cuts = []
    download_coco(tmp_path, archives=parts(server))
    assert is_whole(tmp_path)


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.statuses = [503, 429]
    download_coco(tmp_path, archives=parts(server))
    assert is_whole(tmp_path)


def test_a_refusal_is_final(server, tmp_path):
    server.statuses = [404, 404]
    with pytest.raises(ConnectionError, match="404"):
        download_coco(tmp_path, archives=parts(server))
    assert len(server.requests) == 1


def test_nobody_there(tmp_path, monkeypatch, server):
    archives = {"val2017": parts(server)["val2017"]._replace(url="http://127.0.0.1:9/val2017.zip")}
    with pytest.raises(ConnectionError, match="could not be downloaded"):
        download_coco(tmp_path, archives=archives)


@pytest.mark.parametrize("ranges", [True, False])
def test_another_file_does_not_replace_what_was_fetched(server, tmp_path, ranges):
    partial = tmp_path / "val2017.part.zip"
    partial.write_bytes(CONTENT[:500])
    server.content, server.ranges = b"<html>log in</html>" * 50, ranges
    with pytest.raises(ConnectionError, match="Nothing was changed"):
        download_coco(tmp_path, archives=parts(server))
    assert partial.read_bytes() == CONTENT[:500]


def test_corrupted_bytes_are_thrown_away(server, tmp_path):
    server.content = CONTENT[:100] + bytes([CONTENT[100] ^ 1]) + CONTENT[101:]
    with pytest.raises(ValueError, match="checksum"):
        download_coco(tmp_path, archives=parts(server))
    assert list(tmp_path.iterdir()) == []
    server.content = CONTENT
    download_coco(tmp_path, archives=parts(server))
    assert is_whole(tmp_path)


def test_a_wrong_archive_of_the_user_is_named_and_left(server, tmp_path):
    (tmp_path / "val2017.zip").write_bytes(CONTENT[:700])
    with pytest.raises(ValueError, match=r"val2017\.zip' is not COCO"):
        download_coco(tmp_path, archives=parts(server))
    assert (tmp_path / "val2017.zip").read_bytes() == CONTENT[:700]


@pytest.mark.parametrize("name", ["../evil.jpg", "/evil.jpg", "val2017/../evil.jpg", "a/1.jpg"])
def test_nothing_is_unpacked_outside_the_folder(server, tmp_path, name):
    server.content = zipped({**FILES, name: b"evil"})
    download_coco(tmp_path / "coco", archives=parts(server, server.content))
    assert [p.name for p in (tmp_path / "coco").iterdir()] == ["val2017"]
    assert [p.name for p in tmp_path.iterdir()] == ["coco"]


@pytest.mark.parametrize("files", [{"other/1.jpg": b""}, dict(list(FILES.items())[:3])])
def test_an_archive_without_the_whole_folder_is_refused(server, tmp_path, files):
    server.content = zipped(files)
    with pytest.raises((ValueError, FileExistsError), match="val2017"):
        download_coco(tmp_path, archives=parts(server, server.content))
    assert not (tmp_path / "val2017").exists()


def test_stopping_while_unpacking_leaves_no_half_folder(server, tmp_path, monkeypatch):
    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(zipfile.ZipFile, "extractall", stop)
    with pytest.raises(KeyboardInterrupt):
        download_coco(tmp_path, archives=parts(server))
    assert not (tmp_path / "val2017").exists()
    monkeypatch.undo()
    download_coco(tmp_path, archives=parts(server))
    assert is_whole(tmp_path) and len(server.requests) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["val2017"]


def test_annotations_are_whole_with_the_two_files_that_detection_needs(tmp_path):
    (tmp_path / "annotations").mkdir()
    for split in ("train2017", "val2017"):
        with pytest.raises(FileExistsError, match=f"without instances_{split}"):
            download_coco(tmp_path, only=["annotations"])
        (tmp_path / "annotations" / f"instances_{split}.json").write_text("{}")
    download_coco(tmp_path, only=["annotations"])


def test_half_a_folder_is_named_and_left(server, tmp_path):
    (tmp_path / "val2017").mkdir()
    (tmp_path / "val2017" / "mine.jpg").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="with 1 files; the complete part has 8"):
        download_coco(tmp_path, archives=parts(server))
    assert (tmp_path / "val2017" / "mine.jpg").read_bytes() == b"mine"


def test_too_little_room_is_said_before_the_download(server, tmp_path, monkeypatch):
    monkeypatch.setattr(coco.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**9))
    with pytest.raises(OSError, match=r"needs 41\.5 GB .* 1\.0 GB are free"):
        download_coco(tmp_path)
    assert not server.requests and list(tmp_path.iterdir()) == []


def test_unknown_parts_are_named(tmp_path):
    with pytest.raises(ValueError, match="'test2017'; there are annotations, val2017, train2017"):
        download_coco(tmp_path, only=["val2017", "test2017"])


def test_only_the_wanted_parts_are_fetched(server, tmp_path):
    archives = parts(server) | {"train2017": COCO_2017["train2017"]}
    download_coco(tmp_path, only=["val2017"], archives=archives)
    assert is_whole(tmp_path)


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "a.json").write_text(json.dumps({}))
    (tmp_path / "val2017").mkdir()
    (tmp_path / "val2017" / "1.jpg").touch()
    return tmp_path


def dataset(root: Path | str, ann_file: str = "annotations/a.json") -> dict:
    return {"data_root": str(root), "ann_file": ann_file, "data_prefix": {"img": "val2017/"}}


@pytest.mark.parametrize(
    ("lost", "named", "unnamed"),
    [("annotations/a.json", "a.json", "val2017"), ("val2017/1.jpg", "val2017", "a.json")],
)
def test_a_lost_file_is_named_with_the_ways_out(layout, lost, named, unnamed):
    (layout / lost).unlink()
    with pytest.raises(FileNotFoundError) as caught:
        require_dataset_files(dataset(layout))
    message = str(caught.value).replace(str(layout.parent), "")
    assert named in message and unnamed not in message
    assert "shufflenet-det download-coco" in message and "--demo" in message


def test_datasets_of_configs_are_looked_into(layout):
    right, wrong = dataset(layout), dataset(layout, "annotations/b.json")
    require_dataset_files(dataset("s3://bucket/coco"))
    require_dataset_files({"type": "RepeatDataset", "times": 2, "dataset": right})
    require_dataset_files({"type": "ConcatDataset", "datasets": [right, right]})
    for config in (wrong, {"dataset": wrong}, {"datasets": [right, wrong]}):
        with pytest.raises(FileNotFoundError, match=r"b\.json"):
            require_dataset_files(config)
