"""Where things are, and how long we wait for them.  Frozen values, read once at start.

`BULKHEAD_HOME=DIR` puts everything under DIR; otherwise platformdirs decides.
"""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from broker.errors import ConfigError
from broker.files import private_folder

APP = "bulkhead"
HOME_VARIABLE = "BULKHEAD_HOME"
MAX_SOCKET_PATH = 100  # sun_path holds 108 bytes on Linux, 104 on macOS, the terminating NUL included


@dataclass(frozen=True, slots=True)
class Paths:
    """The folders of one Bulkhead home.  `home` identifies it: the folder that holds `home.conf`."""

    home: Path
    config: Path
    data: Path
    state: Path
    runtime: Path
    explicit: bool
    """True when the user named the home (`BULKHEAD_HOME`), which `--unsafe-no-presence` demands."""

    @property
    def connect_socket(self) -> Path:
        return self.runtime / "connect.sock"

    @property
    def control_socket(self) -> Path:
        return self.runtime / "control.sock"

    @property
    def store(self) -> Path:
        return self.data / "store"

    @property
    def server_state(self) -> Path:
        """What servers keep: never code, and nothing of ours."""
        return self.data / "state"

    @property
    def advisories(self) -> Path:
        return self.data / "advisories"

    @property
    def audit(self) -> Path:
        return self.state / "audit"

    @property
    def audit_witness(self) -> Path:
        """How far the chain of receipts went, outside of their folder."""
        return self.state / "audit.witness"

    @property
    def audit_shipped(self) -> Path:
        """How far the receipts came that are sent to a collector."""
        return self.state / "audit.shipped"

    @property
    def log(self) -> Path:
        return self.state / "daemon.log"

    @property
    def throwaway_mark(self) -> Path:
        """Exists only in homes that `demo` or a test made for itself; presence is not asked there."""
        return self.home / "throw-away"


def paths_of(environment: Mapping[str, str]) -> Paths:
    """The home that `environment` selects.  Makes nothing."""
    chosen = environment.get(HOME_VARIABLE)
    if chosen:
        return paths_under(Path(chosen).expanduser().absolute())
    dirs = platformdirs.PlatformDirs(APP, appauthor=False)
    config = Path(dirs.user_config_dir)
    return Paths(
        home=config,
        config=config,
        data=Path(dirs.user_data_dir),
        state=Path(dirs.user_state_dir),
        runtime=_short_runtime(Path(dirs.user_state_dir) / "run"),
        explicit=False,
    )


def paths_under(home: Path) -> Paths:
    """Everything under one folder."""
    return Paths(
        home=home,
        config=home / "config",
        data=home / "data",
        state=home / "state",
        runtime=_short_runtime(home / "run"),
        explicit=True,
    )


def make_folders(paths: Paths) -> None:
    """Make every folder, owner-only.

    Raises:
        ConfigError: one of them cannot be made.
    """
    for folder in (paths.home, paths.config, paths.data, paths.state, paths.runtime):
        try:
            private_folder(folder)
        except OSError as cause:
            raise ConfigError(f"the folder {folder} cannot be made: {cause.strerror}") from cause


def _short_runtime(wanted: Path) -> Path:
    """A socket's path must fit into sun_path; a deep home gets a short folder of its own under the temporary directory.

    The name is derived from the home, so that every process finds the same one; `api.sockets` refuses a folder
    that is not the user's own.
    """
    if len(os.fsencode(wanted)) + len("/connect.sock") <= MAX_SOCKET_PATH:
        return wanted
    import hashlib  # only on this rare way

    tag = hashlib.sha256(os.fsencode(wanted)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"bulkhead-{os.getuid()}-{tag}"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one client may have of the daemon at once.  Where each number comes from stands beside it."""

    links: int = 64  # each may be a server of its own; a busy desktop application was seen to open a dozen


@dataclass(frozen=True, slots=True)
class Waits:
    """Every wait has a limit; seconds.  Where each number comes from stands beside it."""

    handshake_answer: float = 12.0  # the least patient client seen gives up on its opening after 15
    question: float = 120.0  # a person needs to read; most clients' tool time-out is 60 to 300
    verify: float = 300.0  # 4 GiB from a disk that gives 15 MB a second; larger objects are only glanced at
    verify_whole: float = 1800.0  # beside a running server, where nobody waits for it
    launch: float = 60.0  # a cold Python server was seen to need 1.8 s; a slow disk 20 times that
    send: float = 30.0  # a peer that does not read for so long is gone
    stop_stdin: float = 2.0  # the MCP SDK's own grace after closing stdin
    stop_terminate: float = 2.0  # and after SIGTERM
    shutdown: float = 15.0  # all links of a daemon together
