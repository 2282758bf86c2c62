"""What can go wrong, in words a person can act on.

`str(error)` says what happened and who caused it; `hint` says what to do now.  Both reach the
terminal, the audit log and the screen, so neither ever contains a secret or a whole message.
Lower case, no full stop.
"""


class BulkheadError(Exception):
    """Base of every error raised on purpose."""

    def __init__(self, what: str, *, hint: str = "") -> None:
        super().__init__(what)
        self.hint = hint


class ProtocolError(BulkheadError):
    """A peer broke the rules of the wire.  `who` names it, so that nobody else is blamed."""

    def __init__(self, who: str, what: str, *, hint: str = "") -> None:
        super().__init__(f"{who} {what}", hint=hint)
        self.who = who


class LaunchLineError(BulkheadError):
    """A launch line the grammar does not understand, or understands and refuses."""


class TrustError(BulkheadError):
    """Bytes, names or versions are not what was agreed to, or could not be obtained."""


class SandboxError(BulkheadError):
    """A sandbox could not be planned, built or kept."""


class MachineError(BulkheadError):
    """This machine cannot enforce what was asked (exit code 4)."""


class PolicyError(BulkheadError):
    """A policy, grant or label document is not acceptable."""


class AuditError(BulkheadError):
    """A receipt could not be written or the chain does not verify."""


class ConfigError(BulkheadError):
    """A document of ours or of a client cannot be read or written."""


class DeskError(BulkheadError):
    """The front desk refused a request; `code` is stable for scripts."""

    def __init__(self, what: str, *, hint: str = "", code: str = "refused") -> None:
        super().__init__(what, hint=hint)
        self.code = code


class DaemonUnreachable(BulkheadError):
    """No daemon answers on the socket (exit code 3)."""
