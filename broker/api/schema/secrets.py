"""The vault and what is in it; never a value that goes out."""

from pydantic import Field

from broker.api.schema.words import Words


class SecretValue(Words):
    """A secret for the vault.  The value goes this way only."""

    name: str
    value: str = Field(max_length=64 * 1024, repr=False)


class SecretView(Words):
    """`kept` is false for one that a server's document refers to and that is not there."""

    name: str
    kept: bool
    servers: list[str] = []


class VaultView(Words):
    """`where` its key is (`memory`: it forgets everything when the daemon stops); `problem` keeps it closed."""

    where: str
    lasts: bool
    problem: str = ""
    hint: str = ""


class SecretList(Words):
    vault: VaultView
    secrets: list[SecretView] = []


class SecretKept(Words):
    """Servers that were let go, so that their next message starts them with the new value."""

    vault: VaultView
    restarted: list[str] = []


class UndoSeal(Words):
    """What copies of clients' files are sealed to (hex); empty where nothing would open them later, and `why`."""

    public: str
    why: str = ""


class Passphrase(Words):
    """Empty: the keychain."""

    passphrase: str = Field(default="", max_length=1024, repr=False)
