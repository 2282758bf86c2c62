"""How an index of Python packages is reached, and from which hosts its files come.

An index may keep its files on a host of another name; its own listing says so, and nobody else is believed.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

from broker.trust.fetch import Access, basic, from_environment, reader, segment
from broker.trust.npm_settings import origin
from broker.trust.pypi_settings import Index, PypiSettings
from broker.trust.run import host_and_port

SIMPLE: Final = "application/vnd.pypi.simple.v1+json"
MAX_HOSTS: Final = 8  # of one index; the rest is not believed
_HTTP: Final = frozenset({"http", "https"})


async def hosts_of(settings: PypiSettings, package: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Every host, as `HOST:PORT`, that `package` may come from: the indexes, and where their listing of it leads."""
    found: dict[str, None] = {}
    for index in settings.indexes or (Index(own_default(), default=True),):
        if urlsplit(index.url).scheme not in _HTTP:
            continue
        found[host_and_port(index.url)] = None
        if origin(index.url) == origin(own_default()):
            found[f"{_own_storage()}:443"] = None
        else:
            found |= dict.fromkeys(await _listed(access_to(index, settings, environment), settings, package))
    return tuple(filter(None, found))


def own_default() -> str:
    """Where pip goes when nobody configured anything; its own word for it, so that no address is written here."""
    try:
        from pip._internal.models.index import PyPI
    except ImportError:
        return ""
    return str(PyPI.simple_url)


def access_to(index: Index, settings: PypiSettings, environment: Mapping[str, str]) -> Access:
    """How the user reaches an index: proxy, certificates, credentials."""
    access = from_environment(index.url, environment)
    host = (urlsplit(index.url).netloc.rpartition("@")[2], urlsplit(index.url).hostname)
    variable = "UV_INDEX_" + re.sub(r"[^A-Z0-9]", "_", index.name.upper())
    user, password = (settings.variables.get(f"{variable}_{what}", "") for what in ("USERNAME", "PASSWORD"))
    return replace(
        access,
        certificates=(*access.certificates, *((settings.cert,) if settings.cert else ())),
        check_tls=not any(each in host for each in settings.tls.get("allow-insecure-host", []))
        and bool(origin(index.url)),
        headers=basic(user, password) if index.name and user else {},
    )


async def _listed(access: Access, settings: PypiSettings, package: str) -> list[str]:
    """Where the files of one package lie, as the index itself lists them."""
    async with reader(access) as index:
        listing = await index.ask(f"{segment(package)}/", accept=SIMPLE)
    document: Any = listing.document
    files = document.get("files") if isinstance(document, dict) else None
    urls = [str(each.get("url", "")) for each in files if isinstance(each, dict)] if isinstance(files, list) else []
    hosts = dict.fromkeys(host_and_port(url) for url in urls if settings.may_serve(url))
    return list(hosts)[:MAX_HOSTS]


def _own_storage() -> str:
    from pip._internal.models.index import PyPI

    return str(PyPI.file_storage_domain)
