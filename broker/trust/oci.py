"""An image: from its name to a digest, from the digest to layers that were checked, from them to a read-only tree.

A tag is followed once, now; from then on the digest is what was agreed to.  No engine takes part and nothing of the
image is run.
"""

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio.to_thread

from broker.errors import TrustError
from broker.pin import ImageSource, LaunchRequest, PackageRef, PinnedArtifact
from broker.trust.evidence import Evidence, sound, with_evidence
from broker.trust.npm_settings import shown
from broker.trust.oci_client import INDEXES, MANIFESTS, Document, OciRegistry, registry_at
from broker.trust.oci_config import Fitted, Wishes, as_started, fit, read_wishes, this_platform
from broker.trust.oci_layers import GZIP, PLAIN, ZSTD, lay
from broker.trust.oci_reference import DIGEST, Reference, read_reference
from broker.trust.oci_settings import Place, oci_settings
from broker.trust.oci_tree import ImageTree
from broker.trust.store import Store, Stored
from broker.trust.trust_root import Roots, packaged

MAX_LAYERS: Final = 127  # what engines take
MAX_PACKED: Final = 4 << 30  # all layers as they are sent
MAX_CONFIG: Final = 4 << 20
SHOWN: Final = 8  # names of programs in a finding


@dataclass(frozen=True, slots=True)
class _Layer:
    digest: str
    media_type: str
    size: int


@dataclass(frozen=True, slots=True)
class _Image:
    """What was resolved: what the registry holds under the name, this machine's part of it, and its settings."""

    reference: Reference
    top: Document
    manifest: Document
    layers: tuple[_Layer, ...]
    wishes: Wishes


async def resolve_image(
    request: LaunchRequest,
    *,
    store: Store,
    environment: Mapping[str, str],
    progress: Callable[[str], None],
    roots: Roots | None = None,
) -> PinnedArtifact:
    """Find, download, verify, unpack and keep an image.

    Raises:
        TrustError: the image and the step at which it failed, and what to do.
    """
    settings = await oci_settings(environment, request.runner)
    absent: TrustError | None = None
    for reference in read_reference(request.requirement, settings.unnamed):
        for place in await anyio.to_thread.run_sync(settings.places, reference):
            try:
                return await _from(place, reference, request, store, environment, progress, roots)
            except _NotHere as cause:
                absent = absent or cause
    assert absent is not None
    raise TrustError(str(absent), hint=absent.hint) from absent


class _NotHere(TrustError):
    """This place cannot give the image; the next one may."""


async def _from(
    place: Place, reference: Reference, request: LaunchRequest, store: Store,
    environment: Mapping[str, str], progress: Callable[[str], None], roots: Roots | None,
) -> PinnedArtifact:  # fmt: skip
    wanted = request.extra[0] if request.extra else this_platform()
    async with registry_at(place, environment) as registry:
        progress(f"asking {shown(place.url)} for {reference}")
        with _step(reference, "its manifest"):
            try:
                top = await registry.manifest(reference.wanted)
            except TrustError as cause:
                raise _NotHere(f"the image {reference}, its manifest: {cause}", hint=cause.hint) from cause
            image = await _resolved(registry, reference, top, wanted)
        with store.staging() as work:
            for number, layer in enumerate(image.layers, start=1):
                progress(f"downloading layer {number} of {len(image.layers)} ({layer.size} bytes)")
                with _step(reference, f"layer {number}"):
                    await registry.blob(layer.digest, layer.size, work / f"layer-{number}", f"layer {number}")
            progress("checking who made it")
            evidence = await _evidence(registry, image, roots or packaged())
            progress("unpacking")
            unpack = partial(_unpacked, image, request, store, work)
            stored, fitted, lost = await anyio.to_thread.run_sync(unpack)
    return _pinned(image, wanted, fitted, stored, _notes(lost), evidence)


async def _evidence(registry: OciRegistry, image: _Image, roots: Roots) -> Evidence:
    gather = await anyio.to_thread.run_sync(_load_evidence)
    found = await gather(registry, (image.top.digest, image.manifest.digest), roots)
    return sound(str(image.reference), found)


def _load_evidence() -> Callable[[OciRegistry, tuple[str, ...], Roots], Awaitable[Evidence]]:
    """What verifies loads libraries that only pinning needs."""
    from broker.trust.oci_evidence import gather

    return gather


async def _resolved(registry: OciRegistry, reference: Reference, top: Document, wanted: str) -> _Image:
    manifest = top
    if top.media_type in INDEXES:
        digest, size = _of_platform(top.value, wanted)
        manifest = await registry.manifest(digest, MANIFESTS)
        if manifest.size != size:
            raise TrustError("its manifest for this platform has another size than the index says")
    config = manifest.value.get("config")
    digest, _, size = _descriptor(config, "its settings", MAX_CONFIG)
    data = await registry.small_blob(digest, "its settings", size)
    listed = manifest.value.get("layers")
    if not isinstance(listed, list) or not 0 < len(listed) <= MAX_LAYERS:
        raise TrustError(f"it has no layers, or more than {MAX_LAYERS}")
    layers = tuple(_Layer(*_descriptor(each, "a layer", MAX_PACKED)) for each in listed)
    for layer in layers:
        if layer.media_type not in PLAIN | GZIP | ZSTD:
            raise TrustError(f"one of its layers is of a kind that cannot be read: {layer.media_type[:100]!a}")
        if layer.media_type in ZSTD:
            raise TrustError("one of its layers is packed with zstd, which cannot be unpacked here",
                             hint="use another tag of it, or the server's npm or Python package")  # fmt: skip
    if sum(layer.size for layer in layers) > MAX_PACKED:
        raise TrustError(f"its layers have more than {MAX_PACKED} bytes")
    wishes = read_wishes(_json(data), wanted)
    if len(wishes.diff_ids) != len(layers):
        raise TrustError("its settings name another number of layers than its manifest")
    return _Image(reference, top, manifest, layers, wishes)


def _of_platform(index: Mapping[str, Any], wanted: str) -> tuple[str, int]:
    """The manifest for this machine in an index."""
    listed = index.get("manifests")
    offered: list[str] = []
    for each in listed if isinstance(listed, list) else ():
        there = each.get("platform") if isinstance(each, dict) else None
        if not isinstance(there, dict):
            continue
        name = f"{there.get('os')}/{there.get('architecture')}"
        if name == wanted and there.get("variant") in (None, "", "v8"):  # v8 is what every arm64 is
            digest, _, size = _descriptor(each, "its manifest for this platform", MAX_CONFIG)
            return digest, size
        offered.append(ascii(name)[1:40])
    raise TrustError(f"it is not made for {wanted}, only for {', '.join(sorted(set(offered))[:12]) or 'nothing'}")


def _descriptor(value: object, what: str, limit: int) -> tuple[str, str, int]:
    found = value if isinstance(value, dict) else {}
    digest, kind, size = found.get("digest"), found.get("mediaType"), found.get("size")
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest) or not isinstance(kind, str):
        raise TrustError(f"{what} is named by no SHA-256 digest")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= limit:
        raise TrustError(f"{what} has no size, or more than {limit} bytes")
    return digest, kind, size


def _unpacked(image: _Image, request: LaunchRequest, store: Store, work: Path) -> tuple[Stored, Fitted, list[str]]:
    contents, tree, lost = work / "contents", ImageTree(), list[str]()
    contents.mkdir(mode=0o700)
    for number, (layer, diff_id) in enumerate(zip(image.layers, image.wishes.diff_ids, strict=True), start=1):
        packed = work / f"layer-{number}"
        with _step(image.reference, f"layer {number}"):
            lost += lay(tree, packed, layer.media_type, diff_id, number, contents)
        packed.unlink()
    with _step(image.reference, "its file system"):
        fitted = fit(tree, as_started(image.wishes, request), request)
        tree.write(work / "tree")
    return store.admit(work / "tree", links=True), fitted, lost


def _pinned(
    image: _Image, wanted: str, fitted: Fitted, stored: Stored, findings: tuple[str, ...], evidence: Evidence
) -> PinnedArtifact:
    artifact = PinnedArtifact(
        kind="image",
        name=image.reference.name,
        version=image.top.digest,
        tree=stored.tree,
        entry=fitted.entry,
        file_count=stored.file_count,
        byte_count=stored.byte_count,
        packages=(PackageRef(image.reference.name, image.top.digest, image.manifest.digest, note=wanted),),
        program=fitted.program,
        findings=findings,
        image=ImageSource(
            reference=str(image.reference),
            digest=image.top.digest,
            manifest=image.manifest.digest,
            platform=wanted,
            layers=tuple(layer.digest for layer in image.layers),
            env=image.wishes.env,
            entrypoint=(*image.wishes.entrypoint, *image.wishes.cmd),
            user=image.wishes.user,
            cwd=fitted.cwd,
            scratch=fitted.scratch,
            mounts=fitted.mounts,
        ),
    )
    return with_evidence(artifact, evidence)


def _notes(lost: list[str]) -> tuple[str, ...]:
    if not lost:
        return ()
    names = ", ".join(ascii(name)[1:-1] for name in sorted(set(lost))[:SHOWN])
    return (f"{len(set(lost))} programs of the image lose the right to become another user: {names}",)


@contextmanager
def _step(reference: Reference, name: str) -> Iterator[None]:
    """Name the image and the step in whatever goes wrong in it."""
    try:
        yield
    except _NotHere:
        raise
    except TrustError as cause:
        raise TrustError(f"the image {reference}, {name}: {cause}", hint=cause.hint) from cause


def _json(data: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as cause:
        raise TrustError("its settings are not JSON") from cause
    if not isinstance(value, dict):
        raise TrustError("its settings are no JSON object")
    return value
