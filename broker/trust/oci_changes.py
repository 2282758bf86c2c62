"""What is different between two images of one name, for the person who decides whether one takes the other's place."""

from collections.abc import Iterator

from broker.pin import ImageSource
from broker.trust.spoken import plain


def image_changes(old: ImageSource, new: ImageSource) -> Iterator[tuple[str, str]]:
    """Each difference by its code and in a sentence; the digest itself is a new version and told as one."""
    if old.layers != new.layers:
        come = sum(layer not in old.layers for layer in new.layers)
        gone = sum(layer not in new.layers for layer in old.layers)
        yield "IMAGE_LAYERS", f"{come} of its {len(new.layers)} layers are new, {gone} of the old ones are gone"
    if old.entrypoint != new.entrypoint:
        yield "IMAGE_ENTRYPOINT", f"it starts {_words(old.entrypoint)} -> {_words(new.entrypoint)}"
    if old.user != new.user:
        yield "IMAGE_USER", f"it wants to be {plain(old.user) or 'root'} -> {plain(new.user) or 'root'}"
    if old.cwd != new.cwd:
        yield "IMAGE_FOLDER", f"it starts in {plain(old.cwd)} -> {plain(new.cwd)}"
    before, after = dict(old.env), dict(new.env)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if changed:
        yield "IMAGE_ENV", f"it sets other variables: {', '.join(_step(name, before, after) for name in changed)[:400]}"


def _step(name: str, before: dict[str, str], after: dict[str, str]) -> str:
    mark = "+" if name not in before else "-" if name not in after else ""
    return f"{mark}{plain(name)}" + (f"={plain(after[name], 60)}" if name in after else "")


def _words(words: tuple[str, ...]) -> str:
    return plain(" ".join(words), 120) or "nothing"
