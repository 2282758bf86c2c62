"""Wheels are unpacked file by file against their RECORD, or not at all."""

import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.errors import TrustError
from broker.trust.members import Unpacking
from broker.trust.wheel import Wheel, unpack_wheel
from tests.trust.archives import wheel
from tests.trust.attack_table import catches

Change = Callable[[zipfile.ZipFile], None]


def unpack(data: bytes, tmp_path: Path) -> tuple[Wheel, list[str]]:
    root, path = tmp_path / "tree", tmp_path / "it.whl"
    root.mkdir()
    path.write_bytes(data)
    found = unpack_wheel(path, Unpacking(root))
    return found, sorted(each.relative_to(root).as_posix() for each in root.rglob("*") if each.is_file())


def test_a_wheel_goes_into_site_and_its_scripts_and_data_beside(tmp_path: Path) -> None:
    data = wheel(
        "My_Pkg", "1.0",
        {"my_pkg/__init__.py": "", "hook.pth": "import os", "My_Pkg-1.0.data/scripts/run": "x",
         "My_Pkg-1.0.data/purelib/more.py": "", "My_Pkg-1.0.data/data/share/x": ""},
        scripts={"my-pkg": "my_pkg:main"},
    )  # fmt: skip
    found, files = unpack(data, tmp_path)
    assert (found.name, found.hooks) == ("my-pkg", ("hook.pth",))
    assert "my-pkg = my_pkg:main" in found.entry_points
    assert [file for file in files if "dist-info" not in file] == [
        "bin/run", "data/share/x", "site/hook.pth", "site/more.py", "site/my_pkg/__init__.py",
    ]  # fmt: skip


def link(archive: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("pkg/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(info, "/etc/passwd")


def twice(archive: zipfile.ZipFile) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("pkg/__init__.py", "evil")


ADDED: dict[str, tuple[Change, str]] = {
    "B20 climbs": (lambda archive: archive.writestr("../evil.py", "x"), "not in its RECORD"),
    "B21 is not in RECORD": (lambda archive: archive.writestr("pkg/evil.py", "x"), "not in its RECORD"),
    "B25 is a link": (link, "link or special file"),
    "B24 comes twice": (twice, "two files of one name"),
    "is a second RECORD": (lambda archive: archive.writestr("x-1.dist-info/RECORD", ""), "exactly one RECORD"),
}


@pytest.mark.parametrize("case", ADDED)
def test_a_wheel_is_refused_with_a_file_that(case: str, tmp_path: Path) -> None:
    change, reason = ADDED[case]
    with pytest.raises(TrustError, match=reason):
        unpack(wheel("pkg", "1.0", {"pkg/__init__.py": ""}, change_archive=change), tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["it.whl", "tree"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../evil.py", "leads out"),
        ("/etc/evil", "absolute"),
        ("pkg/__INIT__.py", "one file on some file systems"),
        ("pkg/nul.py", "device on Windows"),
        ("pkg/a\u202eb.py", "invisible"),
        ("other-2.0.data/purelib/x.py", "no place in a wheel"),
        ("pkg-1.0.data/purelib/../../../evil.py", "leads out"),
        ("pkg-1.0.data/elsewhere/x.py", "no place in a wheel"),
    ],
)
@catches("B20")
def test_a_wheel_is_refused_with_a_recorded_file_named(name: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(TrustError, match=reason):
        unpack(wheel("pkg", "1.0", {"pkg/__init__.py": "", name: "x"}), tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["it.whl", "tree"]


def wrong(record: dict[str, str]) -> None:
    record["pkg/__init__.py"] = record["pkg-1.0.dist-info/WHEEL"]


def weak(record: dict[str, str]) -> None:
    record["pkg/__init__.py"] = "md5=1B2M2Y8AsgTpgAmY7PhCfg"


def empty(record: dict[str, str]) -> None:
    record["pkg/__init__.py"] = ""


def missing(record: dict[str, str]) -> None:
    record["pkg/gone.py"] = record["pkg/__init__.py"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [(wrong, "differs from its RECORD"), (weak, "weak hash"), (empty, "not in its RECORD"), (missing, "missing file")],
)
@catches("B22", "B23")
def test_a_wheel_is_refused_when_its_record_is(
    change: Callable[[dict[str, str]], None], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(TrustError, match=reason):
        unpack(wheel("pkg", "1.0", {"pkg/__init__.py": ""}, change_record=change), tmp_path)


@catches("B26")
def test_a_bomb_in_a_wheel_is_refused_before_it_unpacks(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="far more than a package needs"):
        unpack(wheel("pkg", "1.0", {"pkg/zeros": bytes(64 << 20)}), tmp_path)
    assert list((tmp_path / "tree").iterdir()) == []


def test_a_member_that_is_longer_than_it_says_is_refused(tmp_path: Path) -> None:
    data = wheel("pkg", "1.0", {"pkg/__init__.py": "x" * 5000})
    size = (5000).to_bytes(4, "little")
    assert data.count(size) == 2  # once before the file, once in the directory
    with pytest.raises(TrustError):
        unpack(data.replace(size, (10).to_bytes(4, "little")), tmp_path)


def test_a_file_that_is_no_wheel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="damaged"):
        unpack(b"PK no zip", tmp_path)


def test_two_wheels_may_not_bring_the_same_file(tmp_path: Path) -> None:
    unpacking = Unpacking(tmp_path / "tree")
    for name in ("one", "two"):
        path = tmp_path / f"{name}.whl"
        path.write_bytes(wheel(name, "1.0", {"shared.py": name}))
        if name == "one":
            unpack_wheel(path, unpacking)
        else:
            with pytest.raises(TrustError, match="comes twice"):
                unpack_wheel(path, unpacking)
