"""The words of the front desk: what can be asked of the daemon, and what it says.

Newline-delimited JSON on `control.sock`.  A request is `{"v": 1, "id": 7, "method": "...", "params": {...}}`; the desk
answers with any number of `{"id": 7, "event": {...}}` lines and then one `{"id": 7, "result": {...}}` or
`{"id": 7, "error": {"code", "what", "hint"}}`.  Unknown keys are refused: a mistyped field never means its default.
"""

from broker.api.schema.boxes import *  # noqa: F403
from broker.api.schema.daemon import *  # noqa: F403
from broker.api.schema.packages import *  # noqa: F403
from broker.api.schema.people import *  # noqa: F403
from broker.api.schema.record import *  # noqa: F403
from broker.api.schema.routes import *  # noqa: F403
from broker.api.schema.rules import *  # noqa: F403
from broker.api.schema.secrets import *  # noqa: F403
from broker.api.schema.servers import *  # noqa: F403
from broker.api.schema.signing import *  # noqa: F403
from broker.api.schema.watch import *  # noqa: F403
from broker.api.schema.words import *  # noqa: F403
