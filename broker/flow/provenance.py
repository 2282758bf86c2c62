"""Where a value came from: the marks of everything a session has read, and what a call carries of them.

Only ever finds more when more was read.  What found no room is not forgotten but counts as a match with everything
(`Origin.blind`), so a flood of text cannot wash an origin away.
"""

import sys
from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import count, filterfalse
from typing import Final, TypeAlias

from broker.flow.decode import views
from broker.flow.fingerprint import STRIDE, WINDOW, Marker, plain, telling, tokens, turned
from broker.flow.labels import Flag
from broker.model import ServerName

MAX_MARKS: Final = 262_144  # of a session; 1 MB of letters and digits
MAX_OWN: Final = 65_536  # marks of what the client itself wrote first
MAX_ORIGINS: Final = 4096  # reads that are told apart
MAX_KEPT: Final = 16_384  # marks of the latest call
MAX_COMPARED: Final = 262_144  # letters and digits of one call and its decodings
TOLD: Final = 3  # windows in a row, 20 letters and digits: about four words
LEAKED: Final = 2  # windows in a row of private text

Compartment: TypeAlias = tuple[ServerName, str]
"""A server, and the scope in it: a value from the arguments; empty is the whole server."""


@dataclass(frozen=True, slots=True)
class Origin:
    """One read as a value's origin: the `number`th of its session.  `blind`: its marks were not kept."""

    number: int
    server: ServerName
    scope: str
    target: str
    flags: frozenset[Flag]
    blind: bool = False

    @property
    def compartment(self) -> Compartment:
        return self.server, self.scope


@dataclass(frozen=True, slots=True)
class Match:
    """A piece of a call that came from `origin`.  `snippet` is text of the call: shown, never stored."""

    origin: Origin
    marks: frozenset[int]
    snippet: str
    private: bool
    """It is private text of another compartment; else it was seen only where strangers wrote."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of a call, window for window, and how many in a row make a match."""

    marks: list[int]
    data: bytes
    told: int
    leaked: int
    alone: bool
    """It is one value, known as a whole: a name like one the client wrote is another name."""


@dataclass(slots=True)
class Provenance:
    """One session's marks and their origins."""

    marker: Marker
    bound: int = MAX_MARKS
    _index: dict[int, int] = field(default_factory=dict)
    _groups: list[frozenset[int]] = field(default_factory=list)  # places in `_origins`
    _known_groups: dict[frozenset[int], int] = field(default_factory=dict)
    _origins: list[Origin] = field(default_factory=list)
    _own: set[int] = field(default_factory=set)
    _latest: tuple[tuple[str, ...], tuple[_Piece | None, ...]] = ((), ())

    def __len__(self) -> int:
        return len(self._index)

    @property
    def origins(self) -> tuple[Origin, ...]:
        return tuple(self._origins)

    def read(self, origin: Origin, marks: Set[int]) -> tuple[Origin, Set[int]]:
        """Remember what was read and where.  Returns the origin as it is kept, blind where there was no room, and the
        marks of which more is known now than before."""
        index = self._index
        known = index.keys() & marks
        new = marks - known if known else marks
        if origin.blind or len(index) + len(new) > self.bound or len(self._origins) >= MAX_ORIGINS:
            return self._blind(origin), set()
        place = self._place(origin)
        if new:
            index.update(dict.fromkeys(new, self._group(frozenset((place,)))))
        moves = {group: self._with(group, place) for group in set(map(index.__getitem__, known))}
        moved: dict[int, int] = {}
        if any(before != after for before, after in moves.items()):  # few reads move anything: the same again is usual
            moved = {mark: moves[index[mark]] for mark in known if moves[index[mark]] != index[mark]}
            index.update(moved)
        if not new and not moved:
            self._origins.pop()  # it adds nothing that a rule looks at
        return origin, new | moved.keys() if moved else new

    def declassify(self, server: ServerName, scope: str, target: str) -> None:
        """What was read so until now came from where nobody needs to look, and is no secret.

        What could not be kept apart from other reads (`blind`) stays what it is.
        """
        for place, origin in enumerate(self._origins):
            if (origin.server, origin.scope, origin.target) == (server, scope, target) and not origin.blind:
                self._origins[place] = replace(origin, flags=frozenset())

    def wrote(self, arguments: Iterable[str]) -> None:
        """Remember what the client wrote itself: what it had not read before did not come from a read."""
        if len(self._own) < MAX_OWN:  # what is not remembered as its own is held rather once too often
            for piece in self._pieces(arguments):
                if piece is not None:
                    self._own.update(filterfalse(self._index.__contains__, piece.marks))
        if sum(len(piece.marks) for piece in self._latest[1] if piece is not None) > MAX_KEPT:
            self._latest = (), ()

    def trace(
        self,
        arguments: Iterable[str],
        here: Compartment,
        *,
        leaves: bool,
        words: bool = True,
        ignore: Collection[int] = (),
    ) -> tuple[Match, ...]:
        """What of a call's strings came from elsewhere, the longest piece of each origin first.

        `here` is the call's compartment, `leaves` whether what it carries leaves to others, `words` whether running
        text counts beside names and values; marks in `ignore` were answered for already.
        """
        found: dict[Origin, Match] = {}
        for match in self._matches(arguments, here, leaves, words, frozenset(ignore)):
            before = found.get(match.origin)
            if before is None:
                found[match.origin] = match
            else:
                longer = max(before, match, key=lambda one: (one.private, len(one.snippet)))
                found[match.origin] = replace(longer, marks=before.marks | match.marks)
        return tuple(found.values())

    def _matches(
        self, arguments: Iterable[str], here: Compartment, leaving: bool, words: bool, ignore: frozenset[int]
    ) -> Iterator[Match]:
        yield from self._unseen([one for one in self._origins if one.blind], here, leaving, ignore)
        if not self._index:
            return
        kinds: dict[int, tuple[Origin | None, Origin | None]] = {}
        for piece in self._pieces(arguments):
            if piece is None:
                everything = [replace(origin, blind=True) for origin in self._origins]
                yield from self._unseen(everything, here, leaving, frozenset())
                return
            if (not words and not piece.alone) or not (self._index.keys() & piece.marks) - self._own:
                continue  # nothing of it was read before the client wrote it
            hits = [
                (place, mark, group)
                for place, mark, group in zip(count(), piece.marks, map(self._index.get, piece.marks), strict=False)
                if group is not None and mark not in ignore
            ]
            for _, _, group in hits:
                if group not in kinds:
                    kinds[group] = self._kinds(group, here, leaving)
            for private, needed in ((False, piece.told), (True, piece.leaked)):
                if any(kind[private] is not None for kind in kinds.values()):
                    yield from self._chains(piece, hits, kinds, private, needed)

    def _chains(
        self,
        piece: _Piece,
        hits: list[tuple[int, int, int]],
        kinds: dict[int, tuple[Origin | None, Origin | None]],
        private: bool,
        needed: int,
    ) -> Iterator[Match]:
        """Marks that follow each other closely enough, enough of them, and not only such as the client wrote first."""
        own, last = self._own, -1 - STRIDE
        chain: list[tuple[int, int]] = []
        foreign = 0
        origin: Origin | None = None
        for place, mark, group in (*hits, (sys.maxsize, 0, -1)):
            now = kinds[group][private] if group >= 0 else None
            if group >= 0 and now is None:
                continue
            if place - last > STRIDE:
                if origin is not None and len(chain) >= needed and foreign >= (1 if piece.alone else needed):
                    seen = piece.data if piece.alone else piece.data[chain[0][0] : last + WINDOW]
                    marks = frozenset(known for _, known in chain)
                    yield Match(origin, marks, seen.decode("utf-8", "replace"), private)
                chain, foreign, origin = [], 0, now
            last = place
            chain.append((place, mark))
            foreign += mark not in own

    def _unseen(
        self, origins: Iterable[Origin], here: Compartment, leaving: bool, ignore: frozenset[int]
    ) -> Iterator[Match]:
        """Matches without a comparison: what could not be compared may have come from any of these."""
        for origin in origins:
            private = leaving and "P" in origin.flags and origin.compartment != here
            mark = int.from_bytes(self.marker.whole(f"{origin.server}\n{origin.scope}".encode()))
            if mark not in ignore and (private or "U" in origin.flags):
                yield Match(origin, frozenset((mark,)), "", private)

    def _kinds(self, group: int, here: Compartment, leaving: bool) -> tuple[Origin | None, Origin | None]:
        """Where marks of this group were seen by strangers' hand alone, and where in private text of elsewhere."""
        origins = [self._origins[place] for place in sorted(self._groups[group])]
        told = origins[0] if all("U" in origin.flags for origin in origins) else None
        private = [origin for origin in origins if "P" in origin.flags and origin.compartment != here]
        return told, private[0] if leaving and private else None

    def _pieces(self, arguments: Iterable[str]) -> Sequence[_Piece | None]:
        """What a call consists of; None in place of what is too much to be looked at."""
        texts = tuple(arguments)
        if texts != self._latest[0]:  # a call is judged, and then what it says is the client's own
            self._latest = texts, tuple(self._taken_apart(texts))
        return self._latest[1]

    def _taken_apart(self, arguments: Iterable[str]) -> Iterator[_Piece | None]:
        compared = 0
        for text in arguments:
            seen = views(text)
            if not seen.whole:
                yield None
            for view in seen.texts:
                spelled = plain(view)
                compared += len(spelled)
                if compared > MAX_COMPARED:
                    yield None
                    return
                readings = turned(spelled)
                whole = readings[0]
                short = set(tokens(spelled.encode("utf-8", "surrogatepass")))
                values = sorted(short | {whole})
                told = [name for name in values if telling(name)]
                marks = dict(zip(told, self.marker.names(told), strict=True))
                for name in values:
                    if name in marks:
                        yield _Piece([marks[name]], name, 1, 1, alone=True)
                    elif len(name) > 16 and name != whole:
                        yield self._piece(name, alone=True)
                for data in readings:
                    yield self._piece(data, alone=whole in short or len(whole) < 20)

    def _piece(self, data: bytes, *, alone: bool) -> _Piece:
        """A value that stands alone matches as a whole; words must match for a while."""
        whole = max(1, (len(data) - WINDOW + 1) // STRIDE)
        told = min(TOLD, whole) if alone else TOLD
        return _Piece(self.marker.windows(data), data, told, min(LEAKED, whole), alone)

    def _blind(self, origin: Origin) -> Origin:
        for known in self._origins:
            if known.blind and known.compartment == origin.compartment and known.flags >= origin.flags:
                return known
        blind = Origin(origin.number, origin.server, origin.scope, origin.target, origin.flags, blind=True)
        self._origins.append(blind)
        return blind

    def _place(self, origin: Origin) -> int:
        self._origins.append(origin)
        return len(self._origins) - 1

    def _with(self, group: int, place: int) -> int:
        """The group that has this origin too.  A second read of the same kind adds nothing a rule looks at."""
        members, new = self._groups[group], self._origins[place]
        for member in members:
            known = self._origins[member]
            if known.compartment == new.compartment and known.flags == new.flags:
                return group
        return self._group(members | {place})

    def _group(self, members: frozenset[int]) -> int:
        group = self._known_groups.get(members)
        if group is None:
            group = self._known_groups[members] = len(self._groups)
            self._groups.append(members)
        return group
