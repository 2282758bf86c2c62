"""Start a server as each kind of client would see it, and write down everything it advertises.

Every view gets a process of its own, or a connection where the server runs elsewhere: servers lock themselves to the
protocol era of their first message.  One elsewhere is asked for the newer era first, as that era's clients ask, and
opened in the older one only if it does not answer, or says that it speaks that too: some take the other for a fault.
Else it counts as a server that does not speak it, and is bridged.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from broker.edges import Running
from broker.endpoints.stderr import LastWords
from broker.endpoints.stdio import LineEndpoint
from broker.errors import ProtocolError, TrustError
from broker.model import Era, ServerName
from broker.protocol.catalog import Catalog, View, ViewKey
from broker.protocol.frames import FrameDecoder, encode
from broker.protocol.survey import Survey
from broker.protocol.versions import LEGACY_VERSIONS

ERAS: Final[tuple[Era, Era]] = ("legacy", "modern")
OPENING_SECONDS: Final = 20.0  # a cold Python server was seen to need 1.8 s
WHOLE_SECONDS: Final = 60.0
WORDS_SHOWN: Final = 600  # characters of a server's last words in an error


async def take_stock(
    server: ServerName,
    start: Callable[[], Awaitable[Running]],
    progress: Callable[[str], None],
    *,
    elsewhere: bool = False,
) -> Catalog:
    """Every view of one server; of one `elsewhere` those of the eras it says it speaks.

    Raises:
        TrustError: it speaks neither era, or broke off.
        SandboxError: it could not be started.
    """
    views: dict[ViewKey, View] = {}
    for era in ERAS[::-1] if elsewhere else ERAS:
        for capabilities in ("full", "empty"):
            survey = Survey(era, capabilities)
            refused = views.get("modern/full") if era == "modern" else views.get("legacy/full")
            if elsewhere and era == "legacy" and not _may_open(views["modern/full"]):
                survey.unanswered()
                refused = survey.view
            if refused is not None and refused.refusal is not None:
                views[survey.key] = refused
                continue
            progress(f"asking {server} what it offers ({era} protocol, {capabilities} client)")
            views[survey.key] = await _interview(server, survey, start)
    if all(view.refusal is not None for view in views.values()):
        raise TrustError(
            f"{server} speaks no protocol revision of MCP that is known here",
            hint="run its line by hand and look at what it prints",
        )
    return Catalog(views)


def _may_open(modern: View) -> bool:
    """Whether a server elsewhere may be opened in the older era, after what it said in the newer."""
    spoken = modern.opening.get("supportedVersions") if modern.opening is not None else LEGACY_VERSIONS
    return isinstance(spoken, list | tuple) and any(version in LEGACY_VERSIONS for version in spoken)


async def _interview(server: ServerName, survey: Survey, start: Callable[[], Awaitable[Running]]) -> View:
    running = await start()
    streams = running.take_streams()
    words = LastWords(streams.stderr)
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    decoder = FrameDecoder("server")

    def finish(problem: ProtocolError | None = None) -> None:
        if ended.done():
            return
        if problem is None:
            ended.set_result(None)
        else:
            ended.set_exception(problem)

    def arrived(data: bytes) -> None:
        try:
            for frame in decoder.feed(data):
                if frame.fault is not None:
                    raise frame.fault.error
                if frame.message is not None and survey.view is None:
                    for message in survey.receive(frame.message):
                        endpoint.send(encode(message))
        except ProtocolError as problem:
            finish(problem)
        if survey.view is not None:
            finish()

    endpoint = LineEndpoint(streams.stdout, streams.stdin, on_bytes=arrived, on_closed=finish, on_drained=lambda: None)
    try:
        endpoint.start()
        for message in survey.start():
            endpoint.send(encode(message))
        await asyncio.wait({ended}, timeout=OPENING_SECONDS if survey.era == "modern" else WHOLE_SECONDS)
        if ended.done():
            ended.result()
        if survey.view is None and running.ending:
            raise TrustError(f"{server} could not be asked what it offers: {running.ending}")
        if survey.view is None:
            survey.unanswered()
    except ProtocolError as problem:
        last = words.text.strip()[-WORDS_SHOWN:]
        said = f"; its last words: {last}" if last else ""
        raise TrustError(f"{server} could not be asked what it offers: {problem}{said}") from problem
    finally:
        endpoint.close()
        await running.stop()
        words.close()
    view = survey.view
    if view is None:
        raise TrustError(f"{server} ended before it had said what it offers", hint="run its line by hand")
    return view
