"""Secrets at the desk: named, set, removed, and never said."""

import asyncio
from collections.abc import Mapping

from broker.api import schema
from broker.api.premises import Premises
from broker.api.wire import Caller, Handler
from broker.clients.sealing import UNDO_KEY, public_of
from broker.concealed import marks, restored
from broker.errors import DeskError
from broker.model import Origin


class Secrets:
    """What a person does to the vault."""

    def __init__(self, premises: Premises) -> None:
        self._at = premises

    def table(self) -> Mapping[str, Handler]:
        return {
            schema.SECRETS.method: self._list,
            schema.SECRET_SET.method: self._set,
            schema.SECRET_REMOVE.method: self._remove,
            schema.VAULT_UNLOCK.method: self._unlock,
            schema.VAULT_SEAL.method: self._seal,
            schema.SAME.method: self._same,
            schema.UNDO_SEAL.method: self._undo_seal,
        }

    async def _list(self, _caller: Caller, _params: schema.Nothing) -> schema.SecretList:
        house = self._at.house
        if not house.vault.standing.is_open:
            return schema.SecretList(vault=self._view())
        found = [
            schema.SecretView(name=one.name, kept=house.provisions.has(one.name), servers=list(one.servers))
            for one in house.provisions.secrets()
        ]
        return schema.SecretList(vault=self._view(), secrets=found)

    async def _set(self, caller: Caller, params: schema.SecretValue) -> schema.SecretKept:
        provisions = self._at.house.provisions
        servers = provisions.users(params.name)
        body = {"servers": list(servers), "by": caller.peer.pid}
        provisions.check(params.name, params.value)
        await self._at.did("grant", "secret.set", params.name, Origin(), body)
        provisions.put(params.name, params.value)
        return schema.SecretKept(vault=self._view(), restarted=self._restarted(servers, params.name))

    async def _remove(self, _caller: Caller, params: schema.Name) -> schema.SecretKept:
        provisions = self._at.house.provisions
        if not provisions.remove(params.name):
            raise DeskError(f"there is no secret {params.name:.80}", hint="bulkhead secret list", code="unknown")
        servers = provisions.users(params.name)
        restarted = self._restarted(servers, params.name)
        await self._at.did("grant", "secret.remove", params.name, Origin(), {"servers": list(servers)})
        return schema.SecretKept(vault=self._view(), restarted=restarted)

    async def _unlock(self, _caller: Caller, params: schema.Passphrase) -> schema.VaultView:
        house = self._at.house
        await asyncio.to_thread(house.vault.unlock, params.passphrase)
        house.provisions.tell_redactor()
        house.changed()
        return self._view()

    async def _seal(self, _caller: Caller, params: schema.Passphrase) -> schema.VaultView:
        how = {"under": "passphrase" if params.passphrase else "keychain"}
        await self._at.did("grant", "vault.seal", "vault", Origin(), how)
        await asyncio.to_thread(self._at.house.vault.rotate, params.passphrase)
        self._at.house.changed()
        return self._view()

    async def _undo_seal(self, _caller: Caller, _params: schema.Nothing) -> schema.UndoSeal:
        vault = self._at.house.vault
        if not vault.standing.lasts:
            return schema.UndoSeal(public="", why=f"the vault is {vault.standing.text}")
        key = await asyncio.to_thread(vault.key, UNDO_KEY)
        return schema.UndoSeal(public=public_of(key).hex())

    async def _same(self, _caller: Caller, params: schema.Line) -> schema.Names:
        """The servers that are registered with this very line and these very values."""
        house, found = self._at.house, []
        for server in house.registry.servers():
            named = marks(server.argv)
            if len(server.argv) == len(params.argv) and set(server.env) - named == set(params.env):
                values = await house.provisions.given(server) or {}
                plain = {name: value for name, value in values.items() if name not in named}
                if restored(server.argv, values) == tuple(params.argv) and plain == params.env:
                    found.append(str(server.name))
        return schema.Names(names=found)

    def _restarted(self, servers: tuple[str, ...], name: str) -> list[str]:
        """Let go of the servers that hold the value there was."""
        for server in servers:
            for link in self._at.sessions.links(server):
                link.provisions_changed(f"its secret {name} was changed; the next call starts it anew")
        return list(servers)

    def _view(self) -> schema.VaultView:
        standing = self._at.house.vault.standing
        return schema.VaultView(
            where=standing.where or "nowhere", lasts=standing.lasts, problem=standing.problem, hint=standing.hint
        )
