"""Layers become directories that overlayfs can stack, and nothing in an archive reaches outside."""

from __future__ import annotations

import gzip
import io
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.images.image_making import Member, archive, directory, file, symlink

from sampan.engine.images import tar
from sampan.engine.images.model import ImageError
from sampan.engine.images.tar import Entry, TarError, TarReader
from sampan.engine.images.unpack import unpack

pytestmark = pytest.mark.root


def into(root: Path, data: bytes, *lowers: Path) -> Path:
    root.mkdir(exist_ok=True)
    unpack(io.BytesIO(data), root, lowers)
    return root


def test_files_keep_mode_owner_time_links_and_attributes(tmp_path: Path) -> None:
    data = archive(
        directory("etc", 0o750, uid=3, gid=4, mtime=1_000_000_000),
        file("etc/a", b"hello", mode=0o4711, uid=1000, gid=100, mtime=1_500_000_000_250_000_000),
        Entry("etc/b", tar.LINK, target="etc/a"),
        symlink("etc/c", "/nowhere"),
        file("bin/ping", b"x", mode=0o755, xattrs={"user.note": b"1", "trusted.overlay.opaque": b"y"}),
        Entry("dev/null", tar.CHARACTER, 0o666, major=1, minor=3),
        Entry("run/pipe", tar.FIFO, 0o600),
    )
    root = into(tmp_path / "r", data)
    a = (root / "etc/a").stat()
    assert (a.st_mode & 0o7777, a.st_uid, a.st_gid, a.st_mtime_ns) == (
        0o4711,
        1000,
        100,
        1_500_000_000_250_000_000,
    )
    assert (root / "etc/b").stat().st_ino == a.st_ino
    assert os.readlink(root / "etc/c") == "/nowhere"
    etc = (root / "etc").stat()
    assert (etc.st_mode & 0o7777, etc.st_uid, etc.st_gid, etc.st_mtime) == (0o750, 3, 4, 1)
    assert os.listxattr(root / "bin/ping") == ["user.note"]
    assert (root / "dev/null").stat().st_rdev == os.makedev(1, 3)
    assert stat.S_ISFIFO((root / "run/pipe").stat().st_mode)


def test_whiteouts_become_what_overlayfs_understands(tmp_path: Path) -> None:
    data = archive(
        file("a/.wh.gone"), directory("b"), file("b/.wh..wh..opq"), file(".wh..wh.plnk"), file("b/new", b"1")
    )
    root = into(tmp_path / "r", data)
    gone = (root / "a/gone").lstat()
    assert stat.S_ISCHR(gone.st_mode)
    assert gone.st_rdev == 0
    assert os.getxattr(root / "b", "trusted.overlay.opaque") == b"y"
    assert sorted(os.listdir(root)) == ["a", "b"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_directory_replaced_in_one_layer_hides_the_one_below(
    tmp_path: Path, order: tuple[int, int]
) -> None:
    members: list[Member] = [file(".wh.d"), directory("d")]
    root = into(tmp_path / "r", archive(*(members[n] for n in order)))
    assert os.getxattr(root / "d", "trusted.overlay.opaque") == b"y"


def test_a_parent_left_out_looks_like_the_one_below(tmp_path: Path) -> None:
    lower = into(tmp_path / "lower", archive(directory("var", 0o1777, uid=7, gid=8)))
    upper = into(tmp_path / "upper", archive(file("var/x/y", b"1")), lower)
    var = (upper / "var").stat()
    assert (var.st_mode & 0o7777, var.st_uid, var.st_gid) == (0o1777, 7, 8)
    assert (upper / "var/x").stat().st_mode & 0o7777 == 0o755


def test_a_hard_link_to_a_file_below_becomes_a_copy(tmp_path: Path) -> None:
    lower = into(tmp_path / "lower", archive(file("a", b"data", mode=0o600)))
    upper = into(tmp_path / "upper", archive(Entry("b", tar.LINK, target="a")), lower)
    assert (upper / "b").read_bytes() == b"data"


def test_later_entries_replace_earlier_ones(tmp_path: Path) -> None:
    data = archive(
        directory("x"), file("x/y", b"1"), file("x", b"file"),
        file("z", b"1"), directory("z"), file("z/in", b"2"),
        symlink("l", "z"), file("l", b"not through"),
    )  # fmt: skip
    root = into(tmp_path / "r", data)
    assert (root / "x").read_bytes() == b"file"
    assert (root / "z/in").read_bytes() == b"2"
    assert (root / "l").read_bytes() == b"not through"


@pytest.mark.parametrize(
    "members",
    [
        [file("../evil", b"1")],
        [file("/abs/../../evil", b"1")],
        [symlink("l", "../.."), file("l/evil", b"1")],
        [symlink("l", "/"), file("l/evil", b"1")],
        [symlink("a", ".."), symlink("b", "a/.."), directory("b/evil")],
        [Entry("evil", tar.LINK, target="../secret"), file("evil", b"1")],
        [symlink("l", "/secret-dir"), file("l/.wh.x", b"1")],
    ],
)
def test_nothing_reaches_outside(tmp_path: Path, members: list[Entry]) -> None:
    (tmp_path / "secret").write_text("untouched")
    try:
        into(tmp_path / "r", archive(*members))
    except TarError:
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r", "secret"]
    assert (tmp_path / "secret").read_text() == "untouched"
    assert (tmp_path / "secret").stat().st_nlink == 1
    assert not any(p.exists() for p in (Path("/evil"), Path("/secret-dir")))


names = st.lists(
    st.sampled_from(["a", "b", "..", ".", ".wh.a", ".wh..wh..opq", "c"]), min_size=1, max_size=4
).map("/".join)
entries = st.one_of(
    st.builds(lambda n: file(n, b"data"), names),
    st.builds(lambda n: directory(n), names),
    st.builds(lambda n, up, t: symlink(n, up + t), names, st.sampled_from(["", "/", "../", "../../"]), names),
    st.builds(lambda n, t: Entry(n, tar.LINK, target=t), names, names),
)


@given(st.lists(entries, max_size=12))
@settings(max_examples=150, deadline=None)
def test_no_sequence_of_entries_reaches_outside(members: list[Entry]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as home:
        top = Path(home) / "1" / "2" / "3"
        top.mkdir(parents=True)
        try:
            into(top / "r", archive(*members))
        except (TarError, OSError):
            pass
        outside = [p for p in Path(home).rglob("*") if not p.is_relative_to(top / "r")]
        assert {str(p.relative_to(home)) for p in outside} == {"1", "1/2", "1/2/3"}


@given(st.binary(max_size=2048) | st.binary(max_size=64).map(lambda b: archive(file("a", b))[:600] + b))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        reader = TarReader(io.BytesIO(data))
        for _ in reader:
            b"".join(reader.pieces())
    except TarError:
        pass


texts = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=120)


@given(
    st.builds(
        Entry,
        texts.filter(lambda t: t not in (".", "..")),
        st.sampled_from([tar.FILE, tar.SYMLINK, tar.DIRECTORY, tar.CHARACTER]),
        st.integers(0, 0o7777),
        st.integers(0, 1 << 31),
        st.integers(0, 1 << 31),
        mtime=st.integers(0, 1 << 62),
        target=texts,
        xattrs=st.dictionaries(st.sampled_from(["user.a", "security.b"]), st.binary(max_size=300)),
    )
)
@settings(deadline=None)
def test_what_is_written_reads_back_the_same_and_for_python_too(entry: Entry) -> None:
    data = archive(entry)
    assert list(TarReader(io.BytesIO(data))) == [entry]
    with tarfile.open(fileobj=io.BytesIO(data)) as f:
        [theirs] = f.getmembers()
    assert (theirs.name, theirs.mode, theirs.uid, theirs.linkname) == (
        entry.name,
        entry.mode,
        entry.uid,
        entry.target,
    )


@pytest.mark.parametrize(
    "form", ["gnu", "posix --sparse-version=0.0", "posix --sparse-version=0.1", "posix --sparse-version=1.0"]
)
def test_sparse_files_as_gnu_tar_writes_them(tmp_path: Path, form: str) -> None:
    big = tmp_path / "big"
    with open(big, "wb") as f:
        for n in range(6):
            f.seek(n * 1_000_000 + 5)
            f.write(b"island %d" % n)
        f.truncate(9_000_000)
    words = f"tar --sparse --format={form} -cf - big".split()
    made = subprocess.run(words, cwd=tmp_path, stdout=subprocess.PIPE, check=True).stdout
    root = into(tmp_path / "r", made)
    assert (root / "big").read_bytes() == big.read_bytes()
    assert (root / "big").stat().st_blocks * 512 < 200_000


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    whole = archive(file("a", b"x" * 5000))
    with pytest.raises(TarError, match="ends in the middle"):
        into(tmp_path / "r", whole[:2000])


def test_gzip_members_in_a_row_are_one_stream() -> None:
    from sampan.engine.images.compression import Decompressed, gzipped

    data = b"".join(gzipped([b"one "])) + b"".join(gzipped([b"two"]))
    assert Decompressed(io.BytesIO(data)).read(100) == b"one two"
    assert gzip.decompress(data) == b"one two"
    with pytest.raises(ImageError, match="ends too early"):
        Decompressed(io.BytesIO(data[:-9])).digest()
