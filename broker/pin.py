"""What a pin is made of: the line that was understood, the bytes that were agreed to, and who speaks for them.

Values only, like `model`; `trust.pins` turns them into text and back.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from broker.model import ArtifactKind, ServerName


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The program that runs a server's code: real path, version text, SHA-256 (hex), and the folder of its runtime.

    `prefix` is None when the runtime lies under /usr, which every sandbox sees read-only anyway.
    """

    path: Path
    version: str
    sha256: str
    prefix: Path | None = None


EvidenceKind: TypeAlias = Literal["signature", "publication", "provenance"]
EvidenceState: TypeAlias = Literal["verified", "missing", "unavailable", "invalid"]
"""`missing`: the index says there is none; `unavailable`: it cannot say; `invalid` never turns into either of them."""


@dataclass(frozen=True, slots=True)
class EvidenceRecord:
    """What speaks for a package: the registry's signature, its word on who published, or how it was built."""

    kind: EvidenceKind
    state: EvidenceState
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Publisher:
    """Who built a package, as its certificate says, and when (seconds since the epoch), as the transparency log does.

    The ids are the forge's own numbers and are never given to somebody else; names and addresses can be.
    """

    issuer: str
    subject: str
    repository: str = ""
    repository_id: str = ""
    owner_id: str = ""
    workflow: str = ""
    ref: str = ""
    commit: str = ""
    runner: str = ""
    log_index: int = 0
    signed_at: int = 0


@dataclass(frozen=True, slots=True)
class TrustBasis:
    """What a package's evidence was judged by: the SHA-256 of each root of trust, and how many days old they were.

    `evidence` is the SHA-256 of the attestations as the registry gave them, which the store keeps.
    """

    sigstore: str
    npm_keys: str
    age_days: int
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Whether it is known who built one package of a closure, and who did where it is."""

    state: EvidenceState
    publisher: Publisher | None = None


@dataclass(frozen=True, slots=True)
class PackageRef:
    """A package: `integrity` is `sha256:<hex>` or npm's `sha512-<base64>`, `signature` the state of the registry's.

    Without a `provenance` nobody was asked for one.
    """

    name: str
    version: str
    integrity: str
    note: str = ""
    signature: EvidenceState = "unavailable"
    provenance: Provenance | None = None


@dataclass(frozen=True, slots=True)
class Build:
    """Code of a package's authors that runs once on this machine, in a box without a network, after a yes of its own.

    `source` is the integrity of what is built, `by` what runs, `requirements` what it is built with.  `result` is the
    SHA-256 of what came out and `tier` the box; both are empty while nothing has run.  One that fetches something is
    the exception: its box reaches `hosts` (`HOST:PORT`) and nothing else.
    """

    name: str
    version: str
    source: str
    by: str
    requirements: tuple[PackageRef, ...] = ()
    result: str = ""
    tier: str = ""
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GitSource:
    """The one commit a package was taken from, and what the line called it when it was resolved.

    `sha256` is the tree hash of the commit's files (of `folder`, if one is named); `tag` the tag object of an annotated
    tag; `signature` says what is signed and how (`tag: SSH`).  `signer` is the fingerprint of the key whose signature
    holds; empty where none could be checked.
    """

    url: str
    ref: str
    commit: str
    sha256: str
    tag: str = ""
    folder: str = ""
    signature: str = ""
    signer: str = ""


@dataclass(frozen=True, slots=True)
class ImageSource:
    """The one image a reference meant when it was resolved, and what it wants of whoever runs it.

    `digest` is what the registry holds under the reference, `manifest` this machine's part of it (`sha256:<hex>`).
    `user` is only noted: a sandbox gives its server a user of its own.  `scratch` is writable, empty, and never kept;
    `mounts` are folders of this machine and the places for them; all of them lie in the image without a link.
    """

    reference: str
    digest: str
    manifest: str
    platform: str
    layers: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    entrypoint: tuple[str, ...] = ()
    user: str = ""
    cwd: str = "/"
    scratch: tuple[str, ...] = ()
    mounts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class PinnedArtifact:
    """What a pin says about bytes.

    For `npm`, `pypi`, `bundle` and `image`, `tree` is the tree hash of the store object and `entry` the path of the
    program inside it; `program` is what a bundle or an image has run, and `git` the commit a package came from if it is
    of none.
    For `script`, `files` names the script and its hash; for `binary`, the program and its hash.
    For `project`, `folders` names folders of this machine and the hash of all that is in them (empty for a development
    folder, which is not verified), `program` is what the interpreter is given before the server's own arguments,
    `tree`, if any, the store object of the project's dependencies, and `until` the time (ISO 8601) at which the trust
    in a development folder ends.
    `evidence` and `publisher` speak of the package that is run; `maintainers` and `released` are claims of the index.
    `registry` is where packages came from, as the user's tools name it, without a credential.
    `builds` is what of the tree was made here and not by the registry; what has not run yet stands in no pin.
    """

    kind: ArtifactKind
    name: str
    version: str
    tree: str = ""
    entry: str = ""
    file_count: int = 0
    byte_count: int = 0
    packages: tuple[PackageRef, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    folders: tuple[tuple[str, str], ...] = ()
    program: tuple[str, ...] = ()
    until: str = ""
    interpreter: Interpreter | None = None
    findings: tuple[str, ...] = ()
    evidence: tuple[EvidenceRecord, ...] = ()
    publisher: Publisher | None = None
    maintainers: tuple[str, ...] = ()
    released: str = ""
    registry: str = ""
    basis: TrustBasis | None = None
    git: GitSource | None = None
    image: ImageSource | None = None
    builds: tuple[Build, ...] = ()


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """What `trust.launch_spec.parse` understood of a launch line.

    `requirement` is what the ecosystem resolves (`name@range`, `name==1`), `args` what the server itself receives,
    `paths` the arguments that name existing or absolute paths (proposed as grants), `floating` whether the
    requirement may mean other bytes tomorrow.  `module` is run in place of a program; `cwd` is the folder the line
    starts the server in.  `mounts` and `scratch` are what an image is shown, and where.  `dev` trusts a local project
    as it is on each day, for a while.
    """

    argv: tuple[str, ...]
    runner: str
    kind: ArtifactKind
    requirement: str
    args: tuple[str, ...] = ()
    bin: str | None = None
    extra: tuple[str, ...] = ()
    python: str | None = None
    registry: str | None = None
    env: tuple[tuple[str, str], ...] = ()
    paths: tuple[str, ...] = ()
    floating: bool = False
    warnings: tuple[str, ...] = ()
    module: str | None = None
    cwd: str | None = None
    dev: bool = False
    mounts: tuple[tuple[str, str], ...] = ()
    scratch: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pin:
    """What the user agreed to run.  `catalog` is the digest of everything advertised, by era and capabilities.

    `accepted` names the advisories that were known, and shown, when a person said yes.
    """

    server: ServerName
    created: str
    launch: LaunchRequest
    artifact: PinnedArtifact
    catalog: str = ""
    accepted: tuple[str, ...] = ()
