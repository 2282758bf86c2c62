"""From a launch line to a pin: prepare (nothing runs), show, agree, start once to pin the catalog.

The yes covers exactly what was shown: it repeats the digest of the proposal, and the pin is made from the proposal's
own values, not from anything resolved anew.
"""

import hashlib
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol, TypeAlias

from broker.boxes import check_elsewhere
from broker.concealed import conceal, marks
from broker.documents import check_name
from broker.edges import Running
from broker.errors import ConfigError, DeskError, MachineError, TrustError
from broker.model import Grants, ServerName, VerifiedArtifact
from broker.pin import LaunchRequest, Pin, PinnedArtifact
from broker.provisions import Provisions
from broker.registry import Registry, Server
from broker.remotes import check_address, check_headers
from broker.sandbox.hosts import HostRules
from broker.sandbox.process import Instance
from broker.stocktaking import take_stock
from broker.trust import launch_spec, pins, typosquat
from broker.trust.advisories import Advisories
from broker.trust.builds import about_proposed, needs_building
from broker.trust.bundle import resolve_bundle
from broker.trust.continuity import compare, refusals
from broker.trust.garbage import trees_of
from broker.trust.launchers.remote import CARRIER, filled
from broker.trust.resolve import build_artifact, resolve
from broker.trust.run import Run, run_command
from broker.trust.store import Store
from broker.trust.trust_root import Roots, packaged

MAX_PROPOSALS: Final = 64  # an import of many servers prepares one at a time
PROPOSAL_SECONDS: Final = 3600.0  # somebody may read long; tomorrow it is prepared anew


class Tools(Run, Protocol):
    """Runs what gets the packages of one server; `tier` names the box it ran in, if it was one."""

    @property
    def tier(self) -> str: ...


Spawn = Callable[[VerifiedArtifact, Grants, Mapping[str, str], str], Awaitable[Instance]]
"""The last is the client whose sign-in is used, where the server runs elsewhere."""
SignIn: TypeAlias = Callable[[ServerName, str, Mapping[str, str]], Awaitable[None]]
"""Given the server, its address, and the headers that go with every request."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Resolved, downloaded, verified; not agreed to."""

    id: str
    server: ServerName
    launch: LaunchRequest
    artifact: PinnedArtifact
    env: Mapping[str, str]
    environment: Mapping[str, str]
    lines: tuple[str, ...]
    warnings: tuple[str, ...]
    builds: tuple[str, ...]
    digest: str
    expires: float

    def __repr__(self) -> str:
        return f"Prepared({self.server!r}, {self.digest[:12]})"


class Pinner:
    """Prepares servers and pins them."""

    def __init__(
        self,
        registry: Registry,
        store: Store,
        advisories: Advisories,
        spawn: Spawn,
        provisions: Provisions,
        *,
        roots: Callable[[], Roots] = packaged,
        tools: Callable[[ServerName], Tools] | None = None,
    ) -> None:
        """`tools` makes the box in which npm, uv, pip and git work for one server; without it there is none."""
        self._registry = registry
        self._store = store
        self._advisories = advisories
        self._look_alikes = typosquat.shipped()
        self._spawn = spawn
        self._provisions = provisions
        self._roots = roots
        self._tools = tools
        self._prepared: dict[str, Prepared] = {}

    async def prepare(
        self,
        name: str,
        argv: Sequence[str],
        environment: Mapping[str, str],
        progress: Callable[[str], None],
        *,
        dev: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> Prepared:
        """Resolve and verify; runs nothing of the server.  `dev` takes a local project as it is on each day.

        `settings` are values a bundle's manifest asks a person for; those given before are used again.

        Raises:
            LaunchLineError: the line is not understood.
            TrustError: something could not be obtained or verified.
        """
        check_name(name)
        launch = replace(launch_spec.parse(argv, exists=_exists), dev=dev)
        env = dict(launch.env)
        tools = self._tools(ServerName(name)) if self._tools else None
        run = tools or run_command
        if launch.kind == "remote":
            check_address(launch.requirement)
            if launch.runner == CARRIER:  # its variables are for its headers only
                env = filled(env, settings or {})
            check_headers(name, env)
        if launch.kind == "bundle":
            known = await self._provisions.of(self._registry.server(name)) if self._registry.has_server(name) else {}
            artifact, given = await resolve_bundle(
                launch, store=self._store, environment=environment, progress=progress, run=run,
                settings={**known, **env, **(settings or {})},
            )  # fmt: skip
            env |= given
        else:
            artifact = await resolve(
                launch, store=self._store, environment=environment, progress=progress, run=run, roots=self._roots()
            )
        if tools and tools.tier:
            artifact = replace(artifact, findings=(*artifact.findings, f"resolved in a box: tier {tools.tier}"))
        launch = replace(launch, argv=_without_values(launch), env=())  # they belong in the owner-only file
        launch, env = conceal(launch, env)
        lines = tuple(pins.describe(artifact, launch))
        lines += (f"sets: {', '.join(sorted(env))} (the values are kept apart)",) if env else ()
        warnings = (*self._changes(name, artifact), *self._warnings(name, artifact))
        builds = tuple(about_proposed(artifact))
        shown = [name, list(argv), lines, warnings, sorted(env), builds]
        digest = hashlib.sha256(json.dumps(shown).encode()).hexdigest()
        prepared = Prepared(
            id=secrets.token_hex(8),
            server=ServerName(name),
            launch=launch,
            artifact=artifact,
            env=env,
            environment=environment,
            lines=lines,
            warnings=warnings,
            builds=builds,
            digest=digest,
            expires=time.monotonic() + PROPOSAL_SECONDS,
        )
        self._forget_old()
        while len(self._prepared) >= MAX_PROPOSALS:
            del self._prepared[next(iter(self._prepared))]
        self._prepared[prepared.id] = prepared
        return prepared

    async def agree(
        self,
        id: str,
        digest: str,
        grants: Grants,
        env: Mapping[str, str],
        progress: Callable[[str], None],
        *,
        references: Mapping[str, str] = MappingProxyType({}),
        build: bool = False,
        client: str = "",
        sign_in: SignIn | None = None,
    ) -> tuple[Pin, tuple[str, ...]]:
        """A person said yes: start the server once in its sandbox, write down what it offers, pin it.

        What looks like a secret among the values goes to the vault; `references` name others by where they are.
        `build` is a person's other yes, to running the code of authors that the proposal names; without it none is run.
        Where the server runs elsewhere it is asked as `client`, after `sign_in` at its address was done.

        Returns the pin, and what a person should know about the grants (a folder that cannot be written, say).

        Raises:
            DeskError: the proposal is unknown, too old, or not the one that was shown.
            TrustError, SandboxError: it could not be started or asked; nothing is registered then.
        """
        self._forget_old()
        prepared = self._prepared.get(id)
        if prepared is None:
            raise DeskError("there is no such proposal any more", hint="add the server again", code="unknown")
        if prepared.digest != digest:
            raise DeskError("this is not the proposal that was shown", hint="add the server again", code="replaced")
        if prepared.launch.kind == "remote":
            check_elsewhere(prepared.server, grants)
        known = self._registry.server(prepared.server) if self._registry.has_server(prepared.server) else None
        given = {**prepared.env, **(env if prepared.launch.runner != CARRIER else {})}
        if not given and not references and known is not None:
            given, references = self._registry.env(known), known.references
        elif known is not None:  # a line that was read from its document has names in it
            named = marks(prepared.launch.argv) - set(given)
            references = {**{name: at for name, at in known.references.items() if name in named}, **references}
        values = given | await self._provisions.looked_up(prepared.server, references)
        ids = {str(hit): hit.id for hit in self._advisories.check(prepared.artifact)}
        shown = tuple(dict.fromkeys(ids[line] for line in prepared.warnings if line in ids))
        settled = await self._settled(prepared, build, progress)
        pin = Pin(prepared.server, _now(), prepared.launch, settled, accepted=shown)
        self._advisories.refuse_malware(pin.server, pin.artifact)
        self._changes(pin.server, pin.artifact)  # another proposal may have been agreed to since this one was made
        artifact = await self._store.verified(pin)

        warnings: dict[str, None] = {}

        async def start() -> Running:
            instance = await self._spawn(artifact, grants, values, client)
            warnings.update(dict.fromkeys(instance.warnings))
            return instance

        elsewhere = prepared.launch.kind == "remote"
        if elsewhere and sign_in is not None and not any(name.lower() == "authorization" for name in values):
            await sign_in(prepared.server, artifact.argv[0], values)
        catalog = await take_stock(prepared.server, start, progress, elsewhere=elsewhere)
        given = {name: value for name, value in given.items() if name not in references}
        references = {**self._provisions.kept(prepared.server, given, elsewhere=elsewhere), **references}
        server = Server(
            prepared.server, prepared.launch.argv, pin.created, grants=grants, env=tuple(sorted(values)),
            references=references,
        )  # fmt: skip
        if known is not None:  # what a person switched off stays off until they switch it on
            server = replace(server, enabled=known.enabled, disabled_tools=known.disabled_tools)
        self._registry.put_env(prepared.server, {n: value for n, value in given.items() if n not in references})
        pin = self._registry.put_pin(pin, catalog)
        self._registry.put_server(server)
        self._provisions.forget_server(prepared.server, keep=references)
        self._prepared.pop(id, None)
        return pin, tuple(warnings)

    async def _settled(self, prepared: Prepared, build: bool, progress: Callable[[str], None]) -> PinnedArtifact:
        """The artifact with what was agreed to be built, built now; or without it, where it runs without."""
        artifact = prepared.artifact
        if not artifact.builds:
            return artifact
        if not build:
            if needs_building(artifact):
                hint = "agree to the build as well: bulkhead add --build"
                raise DeskError(f"{prepared.server} has to be built before it can run", hint=hint, code="unbuilt")
            return replace(artifact, builds=())
        if self._tools is None:
            raise MachineError("there is no box to build it in", hint="bulkhead doctor says what this machine lacks")
        self._advisories.refuse_malware(prepared.server, artifact)  # before anything of it runs
        self._changes(prepared.server, artifact)
        tools = self._tools(prepared.server)
        built = await build_artifact(
            artifact, prepared.launch, store=self._store, environment=prepared.environment, progress=progress, run=tools
        )
        return replace(built, builds=tuple(replace(each, tier=tools.tier) for each in built.builds))

    def run_for(self, server: ServerName) -> Run:
        """How tools are run that get packages for a server, or ask for newer ones."""
        return self._tools(server) if self._tools else run_command

    def name_of(self, id: str) -> str:
        """Whose proposal it is; empty for one that is not there any more."""
        prepared = self._prepared.get(id)
        return prepared.server if prepared is not None else ""

    def variables_of(self, id: str) -> tuple[str, ...]:
        """The names of the variables that a proposal's line gives its server."""
        prepared = self._prepared.get(id)
        return tuple(prepared.env) if prepared is not None else ()

    @property
    def trees(self) -> frozenset[str]:
        """Objects of the store that a proposal names and no pin does yet."""
        return frozenset(tree for prepared in self._prepared.values() for tree in trees_of(prepared.artifact))

    def _changes(self, name: str, artifact: PinnedArtifact) -> tuple[str, ...]:
        """What is not as it was when the server was pinned before.

        Raises:
            TrustError: it changed hands, or in another way that no yes lifts; the old pin stays.
        """
        notes: tuple[str, ...] = ()
        try:
            old = self._registry.pin(name)
        except (TrustError, ConfigError) as cause:  # an unreadable pin must not keep its server from being pinned anew
            old, notes = None, (f"the old pin cannot be read, so nothing was compared with it: {cause}",)
        findings = compare(old.artifact if old else None, artifact, now=time.time())
        if refused := refusals(findings):
            said = "; ".join(f"{finding.code}: {finding.text}" for finding in refused)
            raise TrustError(
                f"{artifact.name} {artifact.version} may not take the place of what {name} runs: {said}",
                hint=f"the pinned version stays; if you know why this is right: bulkhead remove {name}, then add it",
            )
        return (*notes, *(f"{finding.code}: {finding.text}" for finding in findings))

    def _warnings(self, name: str, artifact: PinnedArtifact) -> tuple[str, ...]:
        """What a person should know before a yes.  Malware is no warning: it is refused.

        Raises:
            TrustError: a package of the closure is known malware.
        """
        self._advisories.refuse_malware(name, artifact)
        known = self._look_alikes.get(artifact.kind)
        alike = known.warning(artifact.name) if known else ""
        return tuple(filter(None, (alike, *map(str, self._advisories.check(artifact)))))

    def _forget_old(self) -> None:
        now = time.monotonic()
        self._prepared = {id: one for id, one in self._prepared.items() if one.expires > now}


def grants_of(read: Sequence[str], write: Sequence[str], hosts: Sequence[str]) -> Grants:
    """Grants as a person named them.

    Raises:
        ConfigError: a path is not absolute or does not exist.
        SandboxError: a host cannot be granted.
    """
    for path in (*read, *write):
        if not Path(path).is_absolute() or not Path(path).exists():
            raise ConfigError(f"{path} cannot be granted: it is not the absolute path of something that exists")
    return Grants(tuple(map(Path, read)), tuple(map(Path, write)), HostRules.of(hosts).texts)


def _without_values(launch: LaunchRequest) -> tuple[str, ...]:
    """The user's own line without an `env NAME=VALUE ...` in front: documents are shown, and values are secrets."""
    words = tuple(f"{name}={value}" for name, value in launch.env)
    prefix = 1 + len(words)
    is_env = Path(launch.argv[0]).name == "env" and launch.argv[1:prefix] == words
    return launch.argv[prefix:] if words and is_env else launch.argv


def _exists(path: str) -> bool:
    return Path(path).exists()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
