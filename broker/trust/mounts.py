"""What of this machine a verified artifact needs to see inside its sandbox: its code, its interpreter, nothing else."""

import os
from pathlib import Path
from typing import Final

from broker.errors import ConfigError
from broker.files import read_bounded
from broker.model import ImageRoot, Mount
from broker.pin import Pin, PinnedArtifact
from broker.trust.pins import PACKAGE
from broker.trust.programs import in_system
from broker.trust.project_tree import left_out, present

VENV_MARK: Final = "pyvenv.cfg"
"""Among a pin's files, or as a project's entry, it means: the folder it lies in is a virtual environment."""
MAX_MARK: Final = 64 * 1024

BROWSERS: Final = "browsers"
"""The folder of a store object that holds browsers, and the variable by which their driver finds them."""
WHERE_BROWSERS_ARE: Final = "PLAYWRIGHT_BROWSERS_PATH"


def variables_of(artifact: PinnedArtifact) -> dict[str, str]:
    """What an artifact needs in its environment."""
    if artifact.image is not None:
        return dict(artifact.image.env)
    return {WHERE_BROWSERS_ARE: f"{PACKAGE}/{BROWSERS}"} if any(build.hosts for build in artifact.builds) else {}


def mounts_of(pin: Pin, package: Path, empty: Path) -> tuple[Mount, ...]:
    """Every mount, read-only.  `package` is the store object, if the pin has one; `empty` an empty folder."""
    return (*_code(pin.artifact, package), *_covers(pin, empty))


def root_of(artifact: PinnedArtifact, package: Path) -> ImageRoot | None:
    """The store object as the whole file system, if the artifact is an image."""
    if (image := artifact.image) is None:
        return None
    return ImageRoot(
        source=package,
        scratch=tuple(map(Path, image.scratch)),
        places=tuple((Path(host), Path(inside)) for host, inside in image.mounts),
    )


def _code(artifact: PinnedArtifact, package: Path) -> tuple[Mount, ...]:
    targets: dict[Path, Path] = {}
    if artifact.tree and artifact.image is None:
        targets[Path(PACKAGE)] = package
    own = [Path(path) for path, _ in (*artifact.folders, *artifact.files)]
    own = [path.parent if path.name == VENV_MARK else path for path in own]
    if (interpreter := artifact.interpreter) is not None:
        own += [interpreter.prefix] if interpreter.prefix else []
        if not any(interpreter.path.is_relative_to(path) for path in own):
            own.append(interpreter.path)
        if interpreter.prefix is not None and (alias := _alias(artifact, interpreter.prefix)) is not None:
            targets[alias] = interpreter.prefix
    targets |= {path: path for path in own if not in_system(path)}
    return tuple(Mount(source, target) for target, source in targets.items())


def _alias(artifact: PinnedArtifact, prefix: Path) -> Path | None:
    """The other name by which a virtual environment knows its Python; uv makes one for each minor version."""
    marks = [Path(each) for each in (artifact.entry, *dict(artifact.files)) if each.endswith(f"/{VENV_MARK}")]
    for mark in marks:
        try:
            text = read_bounded(mark, MAX_MARK).decode("utf-8", "replace")
        except (FileNotFoundError, ConfigError):
            continue  # it was checked a moment ago; without it Python does not start, and says so
        homes = [line.partition("=")[2].strip() for line in text.splitlines() if line.split("=")[0].strip() == "home"]
        for home in homes:
            alias = Path(os.path.normpath(home)).parent
            if home.startswith("/") and alias != prefix and alias.resolve() == prefix:
                return alias
    return None


def _covers(pin: Pin, empty: Path) -> tuple[Mount, ...]:
    """What is left out of a project's hash is covered by an empty folder: nobody agreed to it."""
    folders = [Path(path) for path, _ in pin.artifact.folders]
    return tuple(Mount(empty, each) for folder in folders for each in present(folder, left_out(pin.launch)))
