"""Images: resolved, verified, unpacked and pinned without an engine, from a registry that may be hostile."""

import base64
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from broker.errors import TrustError
from broker.model import ServerName
from broker.pin import LaunchRequest, Pin, PinnedArtifact
from broker.trust import launch_spec, oci_client, oci_layers, oci_tree, pins
from broker.trust.continuity import compare
from broker.trust.oci import resolve_image
from broker.trust.oci_reference import read_reference
from broker.trust.oci_settings import oci_settings
from broker.trust.store import Store
from tests.trust.attack_table import catches
from tests.trust.images import MANIFEST, PROGRAM, TAR, ImageRegistry, digest_of, folder, layer, link, member, statement
from tests.trust.mini_sigstore import Builder, MiniSigstore

pytestmark = pytest.mark.anyio
NOBODY: Final[Mapping[str, str]] = {"HOME": "/nonexistent", "CONTAINERS_REGISTRIES_CONF": "/nonexistent"}
EXECUTABLE: Final = 0o755


@pytest.fixture
def images() -> Iterator[ImageRegistry]:
    with ImageRegistry() as registry:
        yield registry


@pytest.fixture(scope="module")
def sigstore() -> MiniSigstore:
    return MiniSigstore()


def request_for(
    images: ImageRegistry, options: str = "", image: str = "toys/server:1", args: str = ""
) -> LaunchRequest:
    words = f"docker run -i --rm {options} {images.host}/{image} {args}".split()
    return launch_spec.parse(words, exists=lambda path: True)


async def pinned(
    store: Store, images: ImageRegistry, options: str = "", *, sigstore: MiniSigstore | None = None, **how: Any
) -> PinnedArtifact:
    request = request_for(images, options, **{key: how.pop(key) for key in ("image", "args") if key in how})
    return await resolve_image(
        request,
        store=store,
        environment=how.pop("environment", NOBODY),
        progress=lambda said: None,
        roots=sigstore.roots() if sigstore else None,
    )


def pin_of(artifact: PinnedArtifact, request: LaunchRequest) -> Pin:
    return Pin(ServerName("toy"), "2026-11-22T00:00:00+00:00", request, artifact)


def tree_of(store: Store, artifact: PinnedArtifact) -> dict[str, str]:
    """What a layer put there: files with their text, links with `-> target`; not what the sandbox needs."""
    root = store.object(artifact.tree)
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_file() and path.stat().st_size:
            found[name] = path.read_text()
    return found


async def test_a_tag_becomes_the_digest_it_means_now_and_the_pin_survives_its_text(
    store: Store, images: ImageRegistry
) -> None:
    digest = images.publish(config={"User": "node", "WorkingDir": "/srv/app", "Volumes": {"/data": {}}})
    artifact = await pinned(store, images, "-v /home/ada/notes:/notes:ro", args="--fast")
    image = artifact.image
    assert image is not None
    assert (artifact.version, image.digest) == (digest, digest)
    assert image.manifest != digest
    assert artifact.program == ("/bin/serve", "--fast")
    assert (image.user, image.cwd, image.scratch) == ("node", "/srv/app", ("/data", "/var/tmp"))
    assert image.mounts == (("/home/ada/notes", "/notes"),)
    pin = pin_of(artifact, request_for(images, "-v /home/ada/notes:/notes:ro", args="--fast"))
    assert pins.from_text(pins.to_text(pin)) == pin
    verified = await store.verified(pin)
    assert verified.image is not None
    assert verified.image.source == store.object(artifact.tree)
    assert (verified.argv, verified.mounts, verified.cwd) == (("/bin/serve", "--fast"), (), Path("/srv/app"))
    shown = "\n".join(pins.describe(artifact, pin.launch))
    for fact in (digest, image.manifest, artifact.tree, "not verified: who published it", "'node'", "/home/ada/notes"):
        assert fact in shown


async def test_a_floating_tag_keeps_meaning_what_was_pinned(store: Store, images: ImageRegistry) -> None:
    images.publish()
    request = request_for(images)
    first = await pinned(store, images)
    images.publish(layer(member("bin/serve", b"#!/bin/sh\nevil\n", EXECUTABLE)))
    assert request.floating
    assert (await store.verified(pin_of(first, request))).tree == first.tree
    assert (await pinned(store, images)).tree != first.tree
    exact = f"toys/server@{first.version}"
    assert (await pinned(store, images, image=exact)).tree == first.tree
    assert not request_for(images, image=exact).floating


async def test_layers_lie_upon_each_other_as_an_engine_lays_them(store: Store, images: ImageRegistry) -> None:
    images.publish(
        PROGRAM,
        layer(
            folder("app"), member("app/old", b"old"), member("app/kept", b"kept"), member("gone/deep/x", b"x"),
            member("hidden/a", b"a"), member("usr/lib/real", b"real"), link("lib", "usr/lib"), member("swap", b"file"),
            member("both/old", b"old"),
        ),
        layer(
            member("app/.wh.old"), member(".wh.gone"), member("hidden/.wh..wh..opq"), member("hidden/b", b"b"),
            member("both/new", b"new"), member(".wh.both"),
            member("lib/more", b"more"), link("again", "app/kept", tarfile.LNKTYPE), folder("swap"),
            member("swap/in", b"in"), link("circle", "circle"), link("up", "../../../etc/os-release"),
        ),
    )  # fmt: skip
    assert tree_of(store, await pinned(store, images)) == {
        "bin/serve": "#!/bin/sh\n", "etc/os-release": "NAME=toy\n", "app/kept": "kept", "hidden/b": "b",
        "usr/lib/real": "real", "usr/lib/more": "more", "lib": "-> usr/lib", "again": "kept", "swap/in": "in",
        "both/new": "new", "circle": "-> circle", "up": "-> ../../../etc/os-release",
    }  # fmt: skip


async def test_a_link_in_an_image_leads_nowhere_on_this_machine(
    store: Store, images: ImageRegistry, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    images.publish(PROGRAM, layer(link("way", str(outside))), layer(member("way/planted", b"x")))
    artifact = await pinned(store, images)
    assert list(outside.iterdir()) == []
    assert tree_of(store, artifact)[f"{outside}/planted".lstrip("/")] == "x"


async def test_a_program_loses_the_right_to_become_another_user(store: Store, images: ImageRegistry) -> None:
    images.publish(PROGRAM, layer(member("bin/su", b"x", 0o4755)))
    artifact = await pinned(store, images)
    assert artifact.findings == ("1 programs of the image lose the right to become another user: bin/su",)
    assert (store.object(artifact.tree) / "bin/su").stat().st_mode & 0o7777 == 0o555


HOSTILE_MEMBERS: Final[Mapping[str, tuple[tuple[tarfile.TarInfo, bytes], str]]] = {
    "traversal": (member("../x", b"x"), "leads out"),
    "deep traversal": (member("a/../../x", b"x"), "leads out"),
    "an absolute path": (member("/x", b"x"), "absolute"),
    "a device": (member("x", type=tarfile.BLKTYPE), "special file"),
    "a fifo": (member("x", type=tarfile.FIFOTYPE), "special file"),
    "a line feed in a name": (member("a\nb", b"x"), "control character"),
    "a second name for nothing": (link("x", "etc/nothing", tarfile.LNKTYPE), "no file in it"),
    "a second name for a file outside": (link("x", "../../etc/passwd", tarfile.LNKTYPE), "leads out"),
    "a file used as a folder": (member("bin/serve/x", b"x"), "file and a folder"),
    "a name too long": (member("x" * 300, b"x"), "too long"),
    "folders too deep": (member("x/" * 60 + "x", b"x"), "too deep"),
    "a whiteout of the folder itself": (member("a/.wh..", b""), "hides nothing"),
}


@catches("H11")
@pytest.mark.parametrize("case", HOSTILE_MEMBERS)
async def test_a_hostile_archive_is_refused_naming_image_layer_and_member(
    store: Store, images: ImageRegistry, case: str
) -> None:
    bad, said = HOSTILE_MEMBERS[case]
    images.publish(PROGRAM, layer(bad))
    with pytest.raises(TrustError, match=said) as refused:
        await pinned(store, images)
    assert f"the image {images.host}/toys/server:1, layer 2" in str(refused.value)
    assert list((store.root / "objects").iterdir()) == []
    assert list((store.root / "staging").iterdir()) == []


async def test_bombs_are_stopped_while_they_unpack(
    store: Store, images: ImageRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oci_layers, "SLACK", 1 << 20)
    images.publish(PROGRAM, layer(member("zeros", bytes(64 << 20))))
    with pytest.raises(TrustError, match="far more bytes than a layer needs"):
        await pinned(store, images)
    monkeypatch.setattr(oci_tree, "MAX_ENTRIES", 10)
    images.publish(PROGRAM, layer(*(member(f"f{number}") for number in range(20))))
    with pytest.raises(TrustError, match="more than 10 files"):
        await pinned(store, images)
    monkeypatch.setattr(oci_tree, "MAX_FILE", 1000)
    images.publish(PROGRAM, layer(member("large", bytes(2000))))
    with pytest.raises(TrustError, match="larger than 1000"):
        await pinned(store, images)
    monkeypatch.setattr(oci_layers, "MAX_HEADER", 1000)
    images.publish(PROGRAM, layer(member("x" * 250, b"x", pax_headers={"comment": "y" * 5000})))
    with pytest.raises(TrustError, match="is no header"):
        await pinned(store, images)


Lie = Callable[[ImageRegistry], object]


def _blob_of(images: ImageRegistry, kind: str) -> str:
    """The path of the image's layer, config or manifest."""
    top = json.loads(images.documents["/v2/toys/server/manifests/1"][1])
    manifest_path = f"/v2/toys/server/manifests/{top['manifests'][1]['digest']}"
    if kind == "manifest":
        return manifest_path
    manifest = json.loads(images.documents[manifest_path][1])
    found = manifest["config"] if kind == "config" else manifest["layers"][0]
    return f"/v2/toys/server/blobs/{found['digest']}"


def _swapped(kind: str) -> Lie:
    def lie(images: ImageRegistry) -> None:
        images.publish()
        path = _blob_of(images, kind)
        media_type, data = images.documents[path]
        images.instead[path] = (200, {"Content-Type": media_type}, data[:-1] + bytes([data[-1] ^ 1]))

    return lie


def _longer(images: ImageRegistry) -> None:
    images.publish()
    path = _blob_of(images, "layer")
    images.instead[path] = (200, {}, images.documents[path][1] + b"more")


def _sends_on(target: str) -> Lie:
    def lie(images: ImageRegistry) -> None:
        images.publish()
        path = _blob_of(images, "layer")
        images.instead[path] = (307, {"Location": target or images.url + path}, b"")

    return lie


def _top(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> Lie:
    return lambda images: images.instead.update({"/v2/toys/server/manifests/1": (status, headers or {}, body)})


LIES: Final[Mapping[str, tuple[Lie, str]]] = {
    "another manifest than the index says": (_swapped("manifest"), "has other bytes"),
    "other settings": (_swapped("config"), "its settings has other bytes"),
    "another layer": (_swapped("layer"), "layer 1 has other bytes"),
    "a longer layer": (_longer, "larger than the"),
    "a circle": (_sends_on(""), "sends on more than 4 times"),
    "a place without TLS": (_sends_on("http://elsewhere.test/x"), "without TLS"),
    "a file of this machine": (_sends_on("file:///etc/passwd"), "without TLS"),
    "an image for another machine": (lambda images: images.publish(platform="linux/pdp11"), "is not made for"),
    "other layers than the settings name": (
        lambda images: images.publish(diff_ids=[digest_of(b"x")]), "not what the image's settings say"),
    "more layers than the settings name": (
        lambda images: images.publish(diff_ids=[digest_of(b"x")] * 2), "another number of layers"),
    "zstd": (lambda images: images.publish(kind=f"{TAR}+zstd"), "packed with zstd"),
    "a layer of another kind": (lambda images: images.publish(kind="application/zip"), "application/zip"),
    "no layers": (lambda images: images.publish(other={"layers": []}), "no layers"),
    "a manifest of another kind": (_top(200, b"{}", {"Content-Type": "text/html"}), "cannot be read: 'text/html'"),
    "no JSON": (_top(200, b"<html>"), "not JSON"),
    "another digest than it says": (
        _top(200, b"{}", {"Docker-Content-Digest": digest_of(b"x")}), "not what the registry says"),
    "an error": (_top(500, b""), "answers 500"),
    "nothing": (_top(404, b""), "has no manifest 1"),
    "a login that cannot be had": (_top(401, b"", {"WWW-Authenticate": "Basic"}), "wants a login"),
    "a token from a place without TLS": (
        _top(401, b"", {"WWW-Authenticate": 'Bearer realm="http://elsewhere.test/"'}), "wants a login"),
    "no program": (lambda images: images.publish(config={"Entrypoint": ["absent"]}), "no program 'absent'"),
    "nothing to run": (lambda images: images.publish(config={"Entrypoint": None}), "nothing to run"),
    "a folder to run": (lambda images: images.publish(config={"Entrypoint": ["/etc"]}), "cannot be run"),
}  # fmt: skip


@catches("H11")
@pytest.mark.parametrize("lie", LIES)
async def test_a_registry_that_lies_gets_nothing_into_the_store(store: Store, images: ImageRegistry, lie: str) -> None:
    tell, said = LIES[lie]
    tell(images)
    with pytest.raises(TrustError) as refused:
        await pinned(store, images)
    assert said in str(refused.value)
    assert f"{images.host}/toys/server:1" in str(refused.value)
    assert list((store.root / "objects").iterdir()) == []


async def test_a_document_that_never_ends_and_one_that_never_comes_are_given_up(
    store: Store, images: ImageRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oci_client, "MAX_MANIFEST", 1000)
    _top(200, b" " * 5000)(images)
    with pytest.raises(TrustError, match="larger than 1000 bytes"):
        await pinned(store, images)
    monkeypatch.setattr(oci_client, "ONE_ANSWER", 0.3)
    images.instead.clear()
    images.stalls.add("/v2/toys/server/manifests/1")
    with pytest.raises(TrustError, match="did not send the manifest 1 within"):
        await pinned(store, images)


async def test_a_token_is_fetched_with_the_persons_own_login_and_not_carried_elsewhere(
    store: Store, images: ImageRegistry, tmp_path: Path
) -> None:
    images.publish()
    images.wants_token, images.login = True, base64.b64encode(b"ada:secret").decode()
    with pytest.raises(TrustError, match="gives no token"):
        await pinned(store, images)
    config = tmp_path / "docker"
    config.mkdir()
    auths = {images.host: {"auth": images.login}}
    (config / "config.json").write_text(json.dumps({"auths": auths}))
    environment = {**NOBODY, "DOCKER_CONFIG": str(config)}
    with ImageRegistry() as elsewhere:
        path = _blob_of(images, "layer")
        elsewhere.documents[path] = images.documents[path]
        images.instead[path] = (307, {"Location": elsewhere.url + path}, b"")
        await pinned(store, images, environment=environment)
        assert [each.get("Authorization") for each in elsewhere.headers] == [None]


HELPER: Final = """#!/bin/sh
read host; echo "$1 $host" >> "$HOME/asked"
case "$host" in
  {host}) echo '{{"ServerURL": "{host}", "Username": "ada", "Secret": "secret"}}';;
  session.test) echo '{{"Username": "<token>", "Secret": "x"}}';;
  broken.test) echo nothing;;
  slow.test) exec sleep 600;;
  *) echo "credentials not found in native keychain"; exit 1;;
esac
"""


async def test_a_login_that_a_helper_program_keeps_is_asked_for_one_registry_alone(
    store: Store, images: ImageRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images.publish()
    images.wants_token, images.login = True, base64.b64encode(b"ada:secret").decode()
    helper = tmp_path / "docker-credential-toy"
    helper.write_text(HELPER.format(host=images.host))
    helper.chmod(0o755)
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "toy", "credHelpers": {"other.test": "../evil"}}))
    environment = {"PATH": f"{tmp_path}:{os.defpath}", "HOME": str(tmp_path), "DOCKER_CONFIG": str(tmp_path)}
    await pinned(store, images, environment=environment)
    assert (tmp_path / "asked").read_text() == f"get {images.host}\n"
    settings = await oci_settings(environment, "docker run")
    assert settings.helper("unknown.test") == ""
    for host, why in {"session.test": "a session of docker's own", "broken.test": "no login"}.items():
        with pytest.raises(TrustError, match=why):
            settings.helper(host)
    monkeypatch.setattr("broker.trust.oci_helpers.SECONDS", 0.2)
    with pytest.raises(TrustError, match="does not say"):
        settings.helper("slow.test")


async def test_the_persons_own_mirrors_and_blocks_count(store: Store, images: ImageRegistry, tmp_path: Path) -> None:
    images.publish(repository="copies/toys/server")
    settings = tmp_path / "registries.conf"
    environment = {**NOBODY, "CONTAINERS_REGISTRIES_CONF": str(settings)}
    request = launch_spec.parse(["podman", "run", "-i", "registry.test/toys/server:1"], exists=lambda path: True)
    settings.write_text(
        f'[[registry]]\nprefix = "registry.test"\n[[registry.mirror]]\nlocation = "{images.host}/copies"\n'
    )
    artifact = await resolve_image(request, store=store, environment=environment, progress=lambda said: None)
    assert artifact.name == "registry.test/toys/server"
    settings.write_text('[[registry]]\nprefix = "registry.test"\nblocked = true\n')
    with pytest.raises(TrustError, match="settings block"):
        await resolve_image(request, store=store, environment=environment, progress=lambda said: None)


REFERENCES: Final = {
    "time": ["one.test/time:latest", "one.test/library/time:latest", "two.test/all/time:latest"],
    "mcp/time:1": ["one.test/mcp/time:1", "two.test/all/mcp/time:1"],
    "localhost/a": ["localhost/a:latest"],
    "h.test:5000/a/b:c": ["h.test:5000/a/b:c"],
    f"h.test/a/b@{digest_of(b'')}": [f"h.test/a/b@{digest_of(b'')}"],
    "h.test/a": ["h.test/a:latest", "h.test/library/a:latest"],
}


@pytest.mark.parametrize("text", REFERENCES)
async def test_a_name_means_what_engines_were_told_it_means(text: str) -> None:
    assert list(map(str, read_reference(text, ("one.test", "two.test/all")))) == REFERENCES[text]


async def test_a_name_without_a_registry_means_nothing_where_no_engine_was_told_one(
    store: Store, tmp_path: Path
) -> None:
    request = launch_spec.parse(["docker", "run", "-i", "mcp/time"], exists=lambda path: True)
    environment = {**NOBODY, "CONTAINERS_REGISTRIES_CONF": str(tmp_path / "none")}
    with pytest.raises(TrustError, match="'mcp/time' does not say its registry") as refused:
        await resolve_image(request, store=store, environment=environment, progress=lambda said: None)
    assert "HOST/mcp/time" in refused.value.hint


async def test_docker_means_the_registry_it_keeps_its_own_login_for(tmp_path: Path) -> None:
    auths = {"https://index.hub.test/v1/": {"auth": "bG9naW4="}, "other.test": {"auth": "eA=="}}
    (tmp_path / "config.json").write_text(json.dumps({"auths": auths}))
    (tmp_path / "daemon.json").write_text(json.dumps({"registry-mirrors": ["https://near.test/"]}))
    (tmp_path / "registries.conf").write_text('unqualified-search-registries = ["far.test"]\n')
    environment = {
        **NOBODY,
        "DOCKER_CONFIG": str(tmp_path),
        "CONTAINERS_REGISTRIES_CONF": str(tmp_path / "registries.conf"),
    }
    settings = await oci_settings(environment, "docker run")
    assert settings.unnamed == ("near.test", "hub.test", "far.test")
    (_, image, _) = read_reference("mcp/time", settings.unnamed)
    assert [(place.url, place.credential) for place in settings.places(image)] == [
        ("https://hub.test", "bG9naW4="), ("https://registry-1.hub.test", "bG9naW4="),
    ]  # fmt: skip
    assert (await oci_settings(environment, "podman run")).unnamed == ("far.test",)


@pytest.mark.parametrize("text", ["A", "a//b", "a:b:c", "a@sha256:12", "h.test/../x", "-a", "a:", "", "h.test/", "ä"])
async def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(TrustError, match="no image reference"):
        read_reference(text)


@pytest.mark.parametrize("has_referrers", [True, False])
async def test_who_built_an_image_is_verified_through_what_the_registry_keeps_beside_it(
    store: Store, images: ImageRegistry, sigstore: MiniSigstore, has_referrers: bool
) -> None:
    images.has_referrers = has_referrers
    digest = images.publish()
    about_contents = sigstore.bundle(statement(digest, "https://spdx.dev/Document/v2.3"), Builder())
    images.attach(digest, about_contents, sigstore.bundle(statement(digest), Builder()))
    artifact = await pinned(store, images, sigstore=sigstore)
    assert artifact.publisher is not None
    assert (artifact.publisher.owner_id, artifact.evidence[0].state) == ("2002", "verified")
    assert "verified: built by https://github.com/org/repo" in "\n".join(pins.describe(artifact, request_for(images)))


@catches("H11")
async def test_a_statement_that_does_not_hold_refuses_the_image(
    store: Store, images: ImageRegistry, sigstore: MiniSigstore
) -> None:
    digest = images.publish()
    images.attach(digest, sigstore.bundle(statement(digest_of(b"another image")), Builder()))
    with pytest.raises(TrustError, match="it speaks of another image"):
        await pinned(store, images, sigstore=sigstore)
    images.attach(digest, MiniSigstore().bundle(statement(digest), Builder()))
    with pytest.raises(TrustError, match="does not verify"):
        await pinned(store, images, sigstore=sigstore)
    hands = (Builder(), Builder(owner_id="6666"))
    images.attach(digest, *(sigstore.bundle(statement(digest), builder) for builder in hands))
    with pytest.raises(TrustError, match="from different hands"):
        await pinned(store, images, sigstore=sigstore)


async def test_no_statement_an_old_one_and_no_answer_are_told_apart(
    store: Store, images: ImageRegistry, sigstore: MiniSigstore
) -> None:
    digest = images.publish()
    records = [(await pinned(store, images, sigstore=sigstore)).evidence[0]]
    old = {"schemaVersion": 2, "mediaType": MANIFEST, "layers": []}
    images.manifest("toys/server", old, f"{digest.replace(':', '-')}.sig")
    records.append((await pinned(store, images, sigstore=sigstore)).evidence[0])
    images.instead[f"/v2/toys/server/referrers/{digest}"] = (500, {}, b"")
    records.append((await pinned(store, images, sigstore=sigstore)).evidence[0])
    assert [record.state for record in records] == ["missing", "missing", "unavailable"]
    assert "older signature" in records[1].detail


async def test_an_update_says_what_changed_and_whose_it_is(
    store: Store, images: ImageRegistry, sigstore: MiniSigstore
) -> None:
    def publish(owner: str, more: bytes, **config: Any) -> str:
        digest = images.publish(PROGRAM, more, config=config)
        images.attach(digest, sigstore.bundle(statement(digest), Builder(owner_id=owner)))
        return digest

    publish("2002", layer(member("a", b"a")), Env=["PATH=/bin", "A=1"], User="node")
    old = await pinned(store, images, sigstore=sigstore)
    assert compare(old, old, now=0) == ()
    publish("2002", layer(member("a", b"b")), Env=["PATH=/bin", "A=2", "B=3"], Entrypoint=["/bin/serve", "x"])
    new = await pinned(store, images, sigstore=sigstore)
    found = {finding.code: finding for finding in compare(old, new, now=4e9)}
    assert sorted(found) == ["IMAGE_ENTRYPOINT", "IMAGE_ENV", "IMAGE_LAYERS", "IMAGE_USER", "NEW_VERSION"]
    assert all(finding.action == "consent" for finding in found.values())
    assert found["IMAGE_LAYERS"].text == "1 of its 2 layers are new, 1 of the old ones are gone"
    assert found["IMAGE_ENV"].text == "it sets other variables: A=2, +B=3"
    assert found["IMAGE_USER"].text == "it wants to be node -> root"
    publish("6666", layer(member("a", b"c")), Env=["PATH=/bin"])
    taken = {each.code: each.action for each in compare(old, await pinned(store, images, sigstore=sigstore), now=4e9)}
    assert taken["PUBLISHER_CHANGED"] == "block"
    unsigned = replace(new, evidence=(replace(new.evidence[0], state="missing"),), publisher=None)
    assert "PROV_DROPPED" in {finding.code for finding in compare(old, unsigned, now=4e9)}


async def test_a_tree_of_an_image_that_was_touched_is_not_launched(store: Store, images: ImageRegistry) -> None:
    images.publish(PROGRAM, layer(link("way", "etc"), member("data", b"x")))
    artifact = await pinned(store, images)
    pin, root = pin_of(artifact, request_for(images)), store.object(artifact.tree)
    root.chmod(0o755)
    (root / "way").unlink()
    (root / "way").symlink_to("/etc")
    root.chmod(0o555)
    with pytest.raises(TrustError, match="way was changed: it leads elsewhere"):
        await store.verified(pin)
    root.chmod(0o755)
    (root / "way").unlink()
    (root / "way").write_text("x")
    root.chmod(0o555)
    with pytest.raises(TrustError, match="way is no longer the link it was"):
        await store.verified(pin)


async def test_a_large_image_is_hashed_whole_once_and_then_looked_at(images: ImageRegistry, tmp_path: Path) -> None:
    store = Store(tmp_path / "store", large=1)
    images.publish(PROGRAM, layer(link("way", "etc"), member("data", b"x")))
    artifact = await pinned(store, images)
    pin = pin_of(artifact, request_for(images))
    await store.verified(pin)
    assert not store.owes_whole(pin)
    await store.verified(pin)
    assert store.owes_whole(pin)
    program = store.object(artifact.tree) / "bin/serve"
    program.chmod(0o755)
    program.write_bytes(b"#!/bin/xx\n")
    program.chmod(0o555)
    with pytest.raises(TrustError, match="bin/serve was changed"):
        await store.verified(pin)
