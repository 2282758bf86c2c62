"""Which clients there are on this machine, and what their files say.

Nothing here changes a file, and a file that cannot be read or is not JSON is named with its reason instead of raising:
one broken file must not hide the others.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from broker.clients.configs import ClientConfig
from broker.clients.entries import read_entries
from broker.clients.families import FAMILIES, ConfigFile, Family, base_folders
from broker.clients.notation import name_of, read
from broker.clients.tree import Document, Malformed, Object, node_at
from broker.errors import ConfigError
from broker.files import read_bounded

MAX_PROFILES: Final = 64  # folders looked into for one row of the table
MAX_PROJECTS: Final = 2000  # project folders looked at; a busy year of Claude Code leaves a few hundred


def found_clients(home: Path, platform: str, environment: Mapping[str, str]) -> list[ClientConfig]:
    """Every existing configuration file of every client in the table.  `platform` is `sys.platform`."""
    bases = base_folders(home, platform, environment)
    return [
        found
        for family in FAMILIES
        for file in family.files
        for path in _paths(bases[file.base], file)
        if (found := read_client(family, file.label, path, home)) is not None
    ]


def project_configs(folder: Path, home: Path) -> list[ClientConfig]:
    """What the project in `folder` brought along for any client.  It is named and read, never imported as a whole."""
    if folder.resolve() == home.resolve():  # there the same names are the user's own files
        return []
    found = (
        read_client(family, f"{family.client}, this folder", folder / family.project_file, home)
        for family in FAMILIES
        if family.project_file
    )
    return [config for config in found if config is not None and (config.entries or config.problem)]


def config_paths(home: Path, platform: str, environment: Mapping[str, str]) -> list[Path]:
    """Every existing configuration file, and the real file behind it, unread: what no server may be granted."""
    bases = base_folders(home, platform, environment)
    files = (path for family in FAMILIES for file in family.files for path in _paths(bases[file.base], file))
    return [place for path in files if path.exists() for place in (path, path.resolve())]


def read_client(family: Family, label: str, path: Path, home: Path) -> ClientConfig | None:
    """One file; None when there is none."""
    try:
        target, data = read_through_links(path)
        text = data.decode()
        if not text.strip("\ufeff \t\r\n"):  # an editor's new file: nothing in it, and nothing wrong with it
            return ClientConfig(family, label, path, target, text)
        document = read(text, path, comments=family.comments)
        entries = read_entries(document, family, str(home))
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as cause:
        return _untouched(family, label, path, f"is not UTF-8 text at byte {cause.start + 1}")
    except Malformed as cause:
        return _untouched(family, label, path, f"is not {name_of(path)} its client can read, {cause}")
    except ConfigError as cause:
        problem = str(cause).removeprefix(f"{path} ").removeprefix(f"{os.path.realpath(path)} ")
        return _untouched(family, label, path, problem)
    return ClientConfig(family, label, path, target, text, entries, project_files=_project_files(family, document))


def read_through_links(path: Path) -> tuple[Path, bytes]:
    """The real file behind `path` and its bytes.

    Raises:
        FileNotFoundError: there is none, or a link leads nowhere.
        ConfigError: the links form a ring, or the file cannot be read within its bound.
    """
    try:
        target = path.resolve(strict=True)
    except FileNotFoundError:
        raise
    except (OSError, RuntimeError) as cause:  # before Python 3.13 a ring of links is a RuntimeError
        raise ConfigError(f"{path} cannot be read: its links lead nowhere, or a folder is closed") from cause
    return target, read_bounded(target)


def _untouched(family: Family, label: str, path: Path, problem: str) -> ClientConfig:
    return ClientConfig(family, label, path, path, "", problem=problem)


def _project_files(family: Family, document: Document) -> tuple[Path, ...]:
    """Files that projects the client knows have brought along."""
    projects = node_at(document.root, ("projects",)) if family.project_file else None
    folders = [member.key for member in projects.members] if isinstance(projects, Object) else []
    files = (f"{folder}/{family.project_file}" for folder in folders[:MAX_PROJECTS] if folder.startswith("/"))
    return tuple(Path(file) for file in files if os.path.isfile(file))


def _paths(base: Path, file: ConfigFile) -> Iterator[Path]:
    if "*" in file.path:
        yield from sorted(base.glob(file.path))[:MAX_PROFILES]
    else:
        yield base / file.path
