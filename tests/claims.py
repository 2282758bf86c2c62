"""The promises of the README, word for word.

A promise is a list item of the README that ends with its id in an HTML comment.  `test_claims.py` checks both ways: the
two texts are the same, every promise has a test that carries its id, and no test names a promise that is not made.
"""

from typing import Final

CLAIMS: Final[dict[str, str]] = {
    # the main job
    "C01": "`bulkhead demo` does the whole job on real servers; it ends with 0 only if every step came out right.",
    "C02": "Claude Code, the MCP Inspector and the Python SDK reach real servers through `bulkhead connect`.",
    "C03": "Both protocol eras pass through, each connection in its client's own, unknown fields included.",
    "C04": "Where a server speaks only the other era, Bulkhead translates, what it asks of its client included.",
    # what runs is what was agreed to
    "C10": "Adding a server runs no install script and no build of any package, unless you say yes to that by itself.",
    "C11": "A launch line that Bulkhead does not fully understand is refused, with the reason.",
    "C12": "One changed byte in the store refuses the launch, and the refusal names the file.",
    "C13": "Lists are answered from the agreed catalog, without starting the server.",
    "C14": "A tool that is new or changed since you agreed is held until you look at it.",
    "C15": "An update from another publisher, or without the signature or provenance it had, is refused.",
    "C16": "npm, uv, pip and git work in a box of their own, without your home, and reach only your registries.",
    "C17": "A `docker run` line runs without a container engine, its image being all its server sees of a machine.",
    "C18": "A server elsewhere is pinned by its address and by what it offers, and your key for it is in no document.",
    "C19": "The browser that a Playwright server drives is fetched once, after a yes of its own, and pinned with it.",
    # signing in elsewhere
    "C90": "Each client signs in for itself at a server elsewhere; no other one ever uses what it was given.",
    "C91": "A sign-in is asked about before a browser opens: which client, server, authorization server and rights.",
    "C92": "A token is renewed once, whatever asks at once, and a failure that may pass keeps the sign-in.",
    "C93": "What a server names about signing in is asked only where it may lie, at the address that was judged.",
    "C94": "No token stands in a file, a receipt, an error or on a screen, nor do an authorization server's words.",
    "C95": "Signing in works at `oidc-provider`, Authlib's server and `oauth2-mock-server`, also from a real browser.",
    # the sandbox
    "C20": "A server has no network but the hosts you granted it, whichever client library it uses.",
    "C21": "A server sees an empty home instead of yours, and of your files only what you granted.",
    "C22": "A server sees none of your environment but what you gave it.",
    "C23": "Every process of a server ends with its link, and with the daemon, even one killed with SIGKILL.",
    "C24": "Where a sandbox cannot be enforced, the server is not started.",
    "C25": "Each connection of a server to the network, and each that was denied, is a receipt.",
    "C26": "A secret that Bulkhead puts in reaches its declared host alone, and the server never holds it.",
    "C27": "A secret that comes back in an answer is starred out, in whatever pieces it comes.",
    "C28": "Where you list the requests a server may make, any other is refused before it is sent.",
    "C29": "A server over a limit is ended, and its client is told which limit and how to raise it.",
    # who may say yes
    "C30": "The first connection of a client to a server is a question; an import of yours answers it.",
    "C31": "What no rule allows is asked or denied, and no answer in time means no.",
    "C32": "The strictest rule that matches wins, in whatever order the rules stand.",
    "C33": "No answer is taken from a descendant of a registered client or a sandbox, nor without a terminal.",
    "C34": "After a result of one server, a call that changes or sends something at another server is a question.",
    "C35": "A policy, pin or grant edited by hand loosens nothing until you say yes to the edit.",
    "C36": "What clients connect to can open links and nothing else: it answers no question and changes no policy.",
    "C37": "A launch that joins a reader of your files with a server that can send them out waits for your yes.",
    "C38": "A call that carries what only strangers wrote, or another server's private text, is a question.",
    "C39": "A restarted client is held by what it read before, until `bulkhead session new` or eight quiet hours.",
    "C86": "A session reads on one side of a wall that you put up (`bulkhead wall`), never on both.",
    "C87": "A client, or one session, can be limited to named tools of named servers (`bulkhead limit`).",
    "C83": "A read that you declassify (`bulkhead declassify`) holds nothing in its session until it is read again.",
    "C84": "What a policy asks can be answered inside a client you turned that on for (`bulkhead client answers`).",
    "C88": "A yes to a held call is good once, for exactly that call, for two minutes, also when it comes late.",
    "C89": "No effect after a read of elsewhere goes without such a yes, in any order of events and through restarts.",
    "C80": "Labels you accepted for a server hold for its publisher and these definitions, until you take them back.",
    "C81": "A result is changed only where a mask rule of your policy matches, and the receipt says so.",
    "C82": "`bulkhead policy learn` proposes rules for what was seen; they never permit more than your policy does.",
    # what is recorded
    "C40": "Every call is recorded before it is forwarded.",
    "C41": "`bulkhead audit verify` finds a receipt that was changed, removed or moved, and names the first one.",
    "C42": "Secrets are cut out of receipts by their value.",
    "C57": "A server's secret is kept sealed, given to that server alone, and in no file, log, error or list.",
    "C56": "The vault opens with the key in your system's keychain or your passphrase, and else stays closed.",
    "C43": "A disk that is full or fails ends links with the reason, and a daemon with room goes on from there.",
    "C44": "What peers said to each other is sealed in the receipts, and nothing else of them is.",
    "C45": "`bulkhead audit show` tells the story of one request, from the question to the result.",
    "C46": "`bulkhead audit export` writes what the published schema of OCSF and OTLP's own messages take.",
    "C47": "With the extra `otel`, a call is one trace from your client through Bulkhead to the server.",
    "C48": "Receipts that were let go of leave a signed stub, and what is left still verifies.",
    "C97": "With `OTEL_LOGS_EXPORTER=otlp` your collector gets every receipt; while it is gone, none is lost.",
    # bad peers
    "C50": "What breaks the rules of the wire is refused, its sender is named, and every other link goes on.",
    "C51": "An answer that nobody asked for never reaches the client.",
    "C52": "A server's words reach the screen without markup, control characters or invisible text.",
    "C53": "`bulkhead scan` rejects tool definitions with invisible text and points out those that speak to the model.",
    "C49": "A call that takes longer than agreed is ended, and a server that keeps failing is left alone for a while.",
    "C96": "Nothing is tried or given again but what you agreed to for that tool.",
    # your applications
    "C60": "`import` changes the launch lines of a client's file and nothing else; `undo` gives it back byte for byte.",
    "C61": "A client's file that is not what it should be is left untouched.",
    "C62": "When no daemon can be reached, a client is told on standard error, soon, and never on standard output.",
    "C63": "Clients that speak HTTP come in too, in every revision, each folder with a bearer of its own.",
    "C68": "`bulkhead ui --web` shows the screen to one browser, by a link that works once, and to nobody else.",
    "C64": "No web page gets in by HTTP: it is sent away before anything else of its request is looked at.",
    "C69": "A client by HTTP that insists on OAuth signs in here, once you repeat the number that its page shows.",
    "C66": "`bulkhead doctor` says what this machine enforces and what is wrong, and for each thing what to do.",
    "C67": "A client that takes one server gets all of them as one, and each is judged and boxed as if it were alone.",
}
