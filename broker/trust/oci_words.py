"""What a person is shown of an image before saying yes: what it is, what was verified, and what it is not given."""

from broker.pin import PinnedArtifact
from broker.trust.spoken import about_publisher, plain


def about_image(artifact: PinnedArtifact) -> list[str]:
    """The lines about an image, its digests, its maker, and the places it sees."""
    image = artifact.image
    assert image is not None
    named = image.digest if image.digest == image.manifest else f"{image.digest}, for {image.platform} {image.manifest}"
    lines = [
        f"image: {plain(image.reference, 400)} -> {named}",
        f"verified: every layer ({len(image.layers)}) and the image's settings by their SHA-256; unpacked without an "
        "engine, and without running anything",
        f"stored: {artifact.file_count} files, {artifact.byte_count} bytes, tree sha256 {artifact.tree}; "
        "every file is hashed again at every start",
        *about_publisher(artifact),
        "sandbox: the image is its whole file system, read-only; it has a user of its own"
        + (f" and not {plain(image.user)!r}" if image.user else ""),
    ]
    if image.env:
        lines.append(f"sets: {plain(' '.join(f'{name}={value}' for name, value in image.env), 600)} (from the image)")
    if image.scratch:
        lines.append(f"empty and writable, and never kept: {', '.join(map(plain, image.scratch))}")
    lines += [f"sees {plain(host)} at {plain(inside)}, if you grant it" for host, inside in image.mounts]
    return lines
