"""A docker line through the whole of Bulkhead, on a machine without a container engine: added, shown, used, updated."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.running import Running, home_of_a_stranger
from tests.fakes import script
from tests.trust.images import ImageRegistry, layer, member, python_layer

pytestmark = pytest.mark.sandbox

MODULES: Final = ("collections.abc", "json", "os", "socket", "threading", "typing", "time", "pathlib")
VALUE: Final = "value-that-is-nobody-elses-business"
ENTRYPOINT: Final = ["python3", "-I", "-S", "/srv/latest.py"]


@pytest.fixture(scope="module")
def base() -> bytes:
    return python_layer(script("honest"), *MODULES)


@pytest.fixture(scope="module")
def images() -> Iterator[ImageRegistry]:
    with ImageRegistry() as registry:
        yield registry


@pytest.fixture(scope="module")
def running(images: ImageRegistry, base: bytes) -> Iterator[Running]:
    """A home with one image in it, added by a docker line."""
    config = {"Entrypoint": ENTRYPOINT, "User": "node", "Env": ["PATH=/usr/bin", "OF_IMAGE=1"], "WorkingDir": "/srv"}
    images.publish(base, config=config, kind="application/vnd.oci.image.layer.v1.tar")
    with home_of_a_stranger() as home:
        home.up()
        notes(home)
        added = home.bulkhead("add", "toy", "--yes", "--", *line(home, images), within=180)
        assert added.returncode == 0, added.stderr
        for fact in (f"{images.host}/toys/server:1 -> sha256:", "every layer (1)", "not verified: who published it"):
            assert fact in added.stdout
        assert VALUE not in added.stdout + added.stderr
        yield home


def notes(home: Running) -> Path:
    folder = home.user / "notes"
    folder.mkdir(exist_ok=True)
    (folder / "a.txt").write_text("a note")
    return folder


def line(home: Running, images: ImageRegistry) -> list[str]:
    mount = f"{notes(home)}:/notes:ro"
    return ["docker", "run", "-i", "--rm", "-e", f"TOKEN={VALUE}", "-v", mount, f"{images.host}/toys/server:1"]


@pytest.mark.claim("C17")
def test_a_docker_line_is_used_like_any_other_server(running: Running) -> None:
    with running.connect("toy", running.newcomer("toy")) as client:
        client.open()
        assert client.call_text("echo", {"text": "out of an image"}) == "out of an image"
        told = client.call_text("environ")
        assert VALUE in told and "OF_IMAGE" in told
        assert client.call_text("read_file", {"path": "/notes/a.txt"}) == "a note"
        assert "a note" not in json.dumps(client.call("read_file", {"path": str(running.user / "notes/a.txt")}))


def test_the_values_of_a_docker_line_stand_in_no_document(running: Running) -> None:
    files = [path for path in running.paths.home.rglob("*") if path.is_file()]
    assert [path for path in files if VALUE.encode() in path.read_bytes()] == []
    assert VALUE not in running.bulkhead("show", "toy").stdout


def test_a_tag_that_moved_changes_nothing_until_a_person_has_seen_what_is_different(
    running: Running, images: ImageRegistry, base: bytes
) -> None:
    (before,) = json.loads(running.bulkhead("servers", "--json").stdout)
    config = {"Entrypoint": ENTRYPOINT, "Env": ["PATH=/usr/bin", "OF_IMAGE=2"], "WorkingDir": "/srv"}
    more = layer(member("srv/more", b"x"))
    digest = images.publish(base, more, config=config, kind="application/vnd.oci.image.layer.v1.tar")
    with running.connect("toy", running.newcomer("toy")) as client:
        client.open()
        assert "OF_IMAGE=1" in client.call_text("environ").replace('": "', "=").replace("': '", "=")
    (now,) = json.loads(running.bulkhead("servers", "--json").stdout)
    assert (now["version"], now["kind"]) == (before["version"], "image")
    updated = running.bulkhead("pin", "toy", "--update", "--yes", within=180)
    assert updated.returncode == 0, updated.stderr
    for told in ("IMAGE_LAYERS", "IMAGE_USER", "IMAGE_ENV", "OF_IMAGE=2", "NEW_VERSION"):
        assert told in updated.stdout
    (after,) = json.loads(running.bulkhead("servers", "--json").stdout)
    assert after["version"] == digest != before["version"]
    assert after["env"] == ["TOKEN"]
