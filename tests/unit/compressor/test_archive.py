"""Archives: what unpacks, and every way in which one that was made to harm does not."""

import errno
import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.fetch import archive
from edgemodel_compressor.fetch.archive import unpack

FILES = {"net/model.onnx": b"model", "net/data/weights.bin": bytes(1000)}


def tar(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as made:  # type: ignore[call-overload]
        for member, content in members:
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return path


def tar_files(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    return tar(path, *((tarfile.TarInfo(name), content) for name, content in files.items()), mode=mode)


def zip_files(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return path


def run(path: Path, limit: int = 10**9) -> Path:
    return unpack(path, path.parent / "unpacked", "The model", limit, "InvalidModel")


def fail(path: Path, limit: int = 10**9) -> TaskError:
    with pytest.raises(TaskError) as caught:
        run(path, limit)
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_the_files_of_an_archive_arrive_below_its_only_folder(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "archive"
    if kind == "zip":
        zip_files(path, FILES)
    else:
        tar_files(path, FILES, "w:gz" if kind.endswith("gz") else "w")
    assert archive.is_archive(path)
    folder = run(path)
    assert folder.name == "net"
    assert {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == {
        name.removeprefix("net/"): content for name, content in FILES.items()
    }


@pytest.mark.parametrize("name", ["/etc/cron", "../up", "a/../../up", "a\\b", "C:x"])
def test_members_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    for path in (tar_files(tmp_path / "a.tar", {name: b"x"}), zip_files(tmp_path / "a.zip", {name: b"x"})):
        error = fail(path)
        assert (error.reason, "leads out of it" in error.message) == ("InvalidModel", True)
        assert not (tmp_path / "up").exists()
        (tmp_path / "unpacked").rmdir()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("link")
    member.type, member.linkname = kind, "/etc/passwd"
    assert "link or device 'link'" in fail(tar(tmp_path / "a.tar", (member, b""))).message


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    entry = zipfile.ZipInfo("link")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr(entry, "/etc/passwd")
    assert "link or device 'link'" in fail(tmp_path / "a.zip").message


def test_a_file_that_comes_twice_is_refused(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", (tarfile.TarInfo("a"), b"1"), (tarfile.TarInfo("./a"), b"2"))
    assert "twice" in fail(path).message


def test_a_file_where_a_folder_is_needed_is_refused(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", (tarfile.TarInfo("a"), b"1"), (tarfile.TarInfo("a/b"), b"2"))
    assert fail(path).reason == "InvalidModel"


def test_more_bytes_than_allowed_are_not_written(tmp_path: Path) -> None:
    for path in (
        zip_files(tmp_path / "a.zip", {"a": os.urandom(3_000_000)}),
        tar_files(tmp_path / "a.tgz", {"a": os.urandom(3_000_000)}, "w:gz"),
    ):
        assert fail(path, 2_000_000).reason == "SourceTooLarge"
        written = tmp_path / "unpacked" / "a"
        assert written.stat().st_size <= 2_000_000
        written.unlink()
        (tmp_path / "unpacked").rmdir()


def test_a_bomb_is_stopped_by_its_ratio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "RATIO_FREE", 2**20)
    assert "200 times" in fail(zip_files(tmp_path / "a.zip", {"a": bytes(8 * 2**20)})).message


def test_a_full_disk_is_not_the_archives_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archive._Sink, "save", full)
    with pytest.raises(OSError, match="No space"):
        run(zip_files(tmp_path / "a.zip", FILES))


def test_the_number_of_members_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_MEMBERS", 10)
    assert "more than 10 files" in fail(zip_files(tmp_path / "a.zip", {f"{i}": b"" for i in range(11)})).message


def test_a_header_that_would_fill_the_memory_is_not_read(tmp_path: Path) -> None:
    """A tar.gz of kilobytes may name a file with hundreds of megabytes."""
    with gzip.open(tmp_path / "a.tgz", "wb") as stream:
        member = tarfile.TarInfo("././@LongLink")
        member.type, member.size = tarfile.GNUTYPE_LONGNAME, 50 * 2**20
        stream.write(member.tobuf(tarfile.GNU_FORMAT))
        stream.write(bytes(50 * 2**20))
    assert "header of more than a megabyte" in fail(tmp_path / "a.tgz").message


def test_a_password_is_refused(tmp_path: Path) -> None:
    data = bytearray(zip_files(tmp_path / "a.zip", {"a": b"x"}, zipfile.ZIP_STORED).read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(bytes(data))
    assert "password" in fail(tmp_path / "a.zip").message


def test_an_archive_without_files_is_refused(tmp_path: Path) -> None:
    assert "without any file" in fail(zip_files(tmp_path / "a.zip", {})).message


WHOLE = {"model.onnx": b"model" * 50, "weights.bin": bytes(range(256)) * 4}


@hypothesis_settings(max_examples=60)
@given(st.sampled_from(["zip", "w", "w:gz"]), st.floats(0, 1), st.integers(0, 255), st.booleans())
def test_a_damaged_archive_is_a_sentence_or_its_files_but_never_a_crash(
    tmp_path_factory: pytest.TempPathFactory, kind: str, where: float, flip: int, cut: bool
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    path = zip_files(folder / "a", WHOLE) if kind == "zip" else tar_files(folder / "a", WHOLE, kind)
    data = bytearray(path.read_bytes())
    position = int(where * (len(data) - 1))
    data[position] ^= flip
    path.write_bytes(bytes(data[:position] if cut else data))
    reason = None
    try:
        run(path)
    except TaskError as error:
        reason = error.reason
    assert reason in (None, "InvalidModel", "SourceTooLarge")
    assert {entry.name for entry in folder.iterdir()} <= {"a", "unpacked"}
