"""Addresses by HTTP at the desk."""

from collections.abc import Mapping
from pathlib import Path

from broker.api import schema
from broker.api.premises import Premises
from broker.api.wire import Caller, Handler
from broker.model import Origin
from broker.visit import ALL


class Endpoints:
    """Where clients that speak HTTP find their servers."""

    def __init__(self, premises: Premises) -> None:
        self._at = premises

    def table(self) -> Mapping[str, Handler]:
        return {schema.ENDPOINT.method: self._endpoint, schema.ENDPOINT_PORT.method: self._port}

    async def _port(self, _caller: Caller, params: schema.EndpointPort) -> schema.Nothing:
        await self._at.did("grant", "endpoint-port", "", Origin(), {"port": params.port})
        await self._at.http.stand_at(params.port)
        return schema.Nothing()

    async def _endpoint(self, _caller: Caller, params: schema.Endpoint) -> schema.EndpointView:
        folder = params.workspace if params.workspace not in ("", "/", str(Path.home())) else ""
        registry = self._at.house.registry
        client = registry.clients.find(params.client)
        server = params.server if params.server == ALL else registry.server(params.server).name
        body = {"workspace": folder, "signs_in": params.signs_in}
        await self._at.did("grant", "endpoint", server, Origin(client.name, server), body)
        url, guest = self._at.http.address(client.name, server, folder, signs_in=params.signs_in)
        return schema.EndpointView(url=url, file="" if params.signs_in else self._at.http.file(guest))
