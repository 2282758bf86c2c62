"""The way to one origin: to an address that was judged, or through the proxy that a person named for its host."""

import httpx2

from broker.endpoints.http_reach import MAX_CONNECTIONS, Guard, Origin, Unreachable, trusted, within
from broker.endpoints.proxy_book import ProxyBook


class NotLetThrough(Unreachable):
    """A proxy did not open the way; `about` is words of ours: which one, and its status."""

    def __init__(self, origin: Origin, about: str) -> None:
        super().__init__(f"{origin} could not be asked: {about}", hint="look at proxy.toml, then: bulkhead review")
        self.about = about


class Ways:
    """Makes the ways to origins."""

    def __init__(self, proxies: ProxyBook) -> None:
        self._proxies = proxies

    def dial(self, origin: Origin) -> httpx2.AsyncBaseTransport:
        return Way(origin, self._proxies)


class Way(httpx2.AsyncBaseTransport):
    """Chooses for every request, so that a document that was just agreed to holds for what is asked next."""

    def __init__(self, origin: Origin, proxies: ProxyBook) -> None:
        self._origin = origin
        self._proxies = proxies
        self._direct = Guard(origin)
        self._through: dict[str, httpx2.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        proxy, origin = self._proxies.current, self._origin
        if not proxy.serves(origin.scheme, origin.host, origin.port):
            return await self._direct.handle_async_request(request)
        if not within(origin, str(request.url)):
            raise Unreachable(f"{origin} is the only place that was agreed to")
        try:
            return await self._by(proxy.url).handle_async_request(request)
        except httpx2.ProxyError as cause:
            status = str(cause)[:3]  # the rest is the proxy's own words
            answered = f"answered {status}" if status.isascii() and status.isdigit() else "did not let it through"
            raise NotLetThrough(origin, f"the proxy {proxy.url} {answered}") from cause
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as cause:
            said = f"there is no way through the proxy {proxy.url}: {type(cause).__name__}"
            raise NotLetThrough(origin, said) from cause

    async def aclose(self) -> None:
        for transport in (self._direct, *self._through.values()):
            await transport.aclose()

    def _by(self, url: str) -> httpx2.AsyncHTTPTransport:
        if url not in self._through:
            limits = httpx2.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=8)
            proxy = httpx2.Proxy(url, ssl_context=trusted() if url.startswith("https:") else None)
            self._through[url] = httpx2.AsyncHTTPTransport(
                limits=limits, trust_env=False, verify=trusted(), proxy=proxy
            )
        return self._through[url]
