"""What servers run: pins, roots of trust, advisories, the store."""

from pydantic import Field

from broker.api.schema.words import Words


class Verify(Words):
    """Servers to check against their pins; none means all.

    Unless `offline`, registries are asked about newer versions, with the caller's `environment`.  `sbom` asks for the
    list of what the servers consist of.
    """

    names: list[str] = []
    offline: bool = False
    environment: dict[str, str] = {}
    sbom: bool = False


class Check(Words):
    """One server checked.  `problem` is empty when every byte is as pinned; `newer` is announced, never taken.

    `evidence` says who made it, as far as that was verified when it was pinned, for the whole closure; `roots_days` how
    old the roots of trust are that it would be judged by now.
    """

    name: str
    problem: str = ""
    malware: list[str] = []
    vulnerabilities: list[str] = []
    newer: str = ""
    note: str = ""
    evidence: list[str] = []
    roots_days: int = 0


class Checks(Words):
    """`advisories` says how much is known and since when; `roots` how old the roots of trust are.

    `sbom` is a CycloneDX document.
    """

    checks: list[Check]
    advisories: str = ""
    roots: str = ""
    sbom: str = ""


class RootsRefresh(Words):
    """Fetch the newest root of trust from `source`; empty means where the installed sigstore gets its own."""

    source: str = Field(default="", max_length=2048)
    environment: dict[str, str] = {}


class RootsRefreshed(Words):
    sentence: str
    sha256: str


class AdvisoryStatus(Words):
    """What is known about packages on this machine.  `fetched` is seconds since the epoch, 0 for never."""

    sentence: str
    records: int = 0
    malware: int = 0
    fetched: float = 0.0
    newest: str = ""
    sources: list[str] = []


class AdvisoryRefresh(Words):
    """Take in a file or an address; without one, the configured sources."""

    source: str = ""
    environment: dict[str, str] = {}


class AdvisoryRefreshed(Words):
    taken: int
    unreadable: int
    sentence: str


class AdvisoryUse(Words):
    """Where advisories are fetched from each day.  None: they are not."""

    sources: list[str] = Field(default=[], max_length=8)


class StoreGc(Words):
    dry_run: bool = False


class Collected(Words):
    """Objects of the store that were (or would be) removed; `spared` are too young to be sure of."""

    trees: list[str]
    byte_count: int
    spared: int
