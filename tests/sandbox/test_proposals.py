"""What a server asked for in vain becomes the narrowest grants, and never the home folder."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from broker.sandbox.eyes import Want
from broker.sandbox.proposals import Kind, Outside, Proposals, propose

HOME = Path("/home/ann")
FILES = {
    *("/home/ann/work/one/src/a.py", "/home/ann/work/one/docs/b.md", "/home/ann/work/one/package.json"),
    *("/home/ann/work/two/c.txt", "/home/ann/notes/d.txt", "/home/ann/notes/e.txt"),
    *("/home/ann/.ssh/id_rsa", "/home/ann/loose.txt", "/srv/shared/f.txt", "/srv/shared/g.txt"),
}
FOLDERS = {str(parent) for file in FILES for parent in Path(file).parents} | {"/home/ann/work/empty"}


def kind(path: Path) -> Kind:
    return "file" if str(path) in FILES else "folder" if str(path) in FOLDERS else "nothing"


OUTSIDE = Outside(
    home=HOME,
    kind=kind,
    grantable=lambda path, _: ".ssh" not in path.parts,
    is_project=lambda folder: f"{folder}/package.json" in FILES,
)


def proposed(asked: dict[str, Want]) -> set[tuple[str, bool]]:
    return {(str(one.path), one.writable) for one in propose(asked, OUTSIDE).found}


def test_one_file_is_proposed_alone_and_files_of_a_project_or_folder_together() -> None:
    assert proposed({"/home/ann/work/two/c.txt": "read"}) == {("/home/ann/work/two/c.txt", False)}
    project: dict[str, Want] = {"/home/ann/work/one/src/a.py": "read", "/home/ann/work/one/docs/b.md": "look"}
    assert proposed(project) == {("/home/ann/work/one", False)}
    assert proposed({"/home/ann/notes/d.txt": "read", "/home/ann/notes/e.txt": "read"}) == {("/home/ann/notes", False)}


def test_two_places_stay_two_proposals() -> None:
    asked: dict[str, Want] = {"/home/ann/work/two/c.txt": "read", "/home/ann/notes/d.txt": "read"}
    assert proposed(asked) == {("/home/ann/work/two/c.txt", False), ("/home/ann/notes/d.txt", False)}


def test_what_would_be_made_is_a_folder_to_write_in_and_what_is_not_there_is_nothing() -> None:
    assert proposed({"/home/ann/notes/new.txt": "write"}) == {("/home/ann/notes", True)}
    assert proposed({"/home/ann/nowhere/x": "read", "/nowhere/deep/x": "write"}) == set()


def test_reading_is_not_proposed_beside_writing_of_the_same_and_writing_is_beside_reading() -> None:
    both: dict[str, Want] = {"/home/ann/notes/d.txt": "read", "/home/ann/notes/new": "write"}
    assert proposed(both) == {("/home/ann/notes", True)}
    narrow: dict[str, Want] = {"/home/ann/work/one/src/a.py": "write", "/home/ann/work/one": "read"}
    assert proposed(narrow) == {("/home/ann/work/one", False), ("/home/ann/work/one/src/a.py", True)}


def test_folders_that_were_only_passed_on_the_way_are_not_proposed() -> None:
    asked: dict[str, Want] = {
        "/home/ann/work": "look",
        "/home/ann/work/two": "look",
        "/home/ann/work/two/c.txt": "read",
    }
    assert proposed(asked) == {("/home/ann/work/two/c.txt", False)}
    assert proposed({"/home/ann/work/empty": "look"}) == {("/home/ann/work/empty", False)}


def test_credentials_are_counted_and_not_named() -> None:
    assert propose({"/home/ann/.ssh/id_rsa": "read"}, OUTSIDE) == Proposals((), 1)


@given(st.dictionaries(st.sampled_from(sorted(FILES | FOLDERS)), st.sampled_from(("look", "read", "write"))))
def test_nothing_proposed_is_or_holds_the_home_or_a_credential_folder(asked: dict[str, Want]) -> None:
    for one in propose(asked, OUTSIDE).found:
        assert one.path not in (HOME, *HOME.parents) and ".ssh" not in one.path.parts
        assert one.asked and all(Path(name) == one.path or one.path in Path(name).parents for name in one.asked)
