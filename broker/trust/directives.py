"""Signs that a tool's definition speaks to the model and not about the tool, each with what it weighs.

A sign is a way of speaking, never a phrase out of one known attack: who is obeyed, what is kept from the user, which
other tool is to be called first or with other values, where credentials lie.  One light sign is found in honest
definitions too, so only their sum counts.

The expressions read text made plain by `plain`: lower case, one kind of quotation mark, `camelCase` as `camel_case`.
Their repetitions are all bounded and stay within a line.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

SUSPECT: Final = 6
"""From this sum on a definition is pointed out."""

LIGHT: Final = 1
"""Signs of this weight only add to heavier ones: alone they are how people write."""

_QUOTES: Final = str.maketrans(dict.fromkeys("\u201c\u201d\u2018\u2019\u00b4\u00ab\u00bb", "'"))
_CAMEL: Final = re.compile(r"\b([a-z]+)(?=[A-Z])")


def plain(text: str) -> str:
    """`text` as the expressions below expect it."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_QUOTES)
    return _CAMEL.sub(r"\1_", text).lower().replace('"', "'").replace("`", "'")


@dataclass(frozen=True, slots=True)
class Sign:
    """A way of speaking.  `stems`: it cannot be there where none of these is, which is found out faster."""

    name: str
    weight: int
    meaning: str
    pattern: re.Pattern[str]
    stems: tuple[str, ...] = ()


_IDENTIFIER = r"(?:'[a-z][\w.\- ]{1,60}'|[a-z][a-z0-9]*(?:[_-][a-z0-9]+)+)"
_NEED = (
    r"\b(?:must|should|always|shall|automatically|instead|first|silently|ha(?:ve|s) to|needs? to|required? to|please)"
    r"(?: (?:first|also|always|then|instead|automatically|immediately|only|directly|be|must|to)){0,3}"
)
_NEED_STEMS = ("must", "should", "always", "shall", "automatically", "instead", "first", "silently", "ve to", "as to",
               "need", "require", "please")  # fmt: skip
_CALL = r"(?:us(?:e|es|ed|ing)|(?:call|trigger|perform)(?:s|ed|ing)?|run(?:s|ning)?|(?:execut|invok)(?:e|es|ed|ing))"
_CALL_STEMS = ("call", "use", "using", "run", "execut", "invok", "trigger", "perform")
_CHANGE = (
    r"(?:chang|modif|overrid|overwrit|replac|append|prepend|alter|redirect|rerout|rout|substitut|swap|rewrit|ignor"
    r"|discard|insert|inject|filter|exclud|remov|set|add|includ|convert|treat|limit)"
    r"(?:e|es|ed|ing|y|ies|ied|ten|den|s|ted|ting)?"
)
_PRAISED = (
    r"(?:accurate|reliable|comprehensive|advanced|sophisticated|powerful|authoritative|trusted|precise|trustworthy"
    r"|complete|up-to-date)"
)
_ACT = (
    r"(?:call|use|run|execute|invoke|read|access|send|navigate|create|delete|write|retrieve|fetch|get|visit|list|check"
    r"|open|query|add|append|upload|move|set|update|click|show|trigger|perform|mark)"
)


def _sign(name: str, weight: int, meaning: str, pattern: str, *stems: str) -> Sign:
    return Sign(name, weight, meaning, re.compile(pattern, re.MULTILINE), stems)


CALLED: Final = re.compile(
    rf"\b(?:{_CALL}|tool|function|command|calls? (?:to|for)|via|requests? (?:to|for)|through)\b"
    rf"(?: (?:the|a|any|this|tool|function|either)){{0,2}}\s{{0,2}}({_IDENTIFIER})"
)
"""A tool named as something to call; its name is the group."""

FOREIGN: Final = 2
"""What it weighs that a definition tells to call something which is none of its server's own tools."""

SIGNS: Final = (
    _sign(
        "rank", 6, "puts itself above the user or above earlier instructions",
        r"priority is higher|higher priority than|with the highest priority\b"
        r"|takes? precedence over (?:all|any|every|other|the user|user|previous|subsequent|your|earlier)"
        r"|supersedes? (?:all|any|the user|every)"
        r"|(?:cannot|can't|must not|may not) be (?:overridden|skipped|bypassed|declined|refused)"
        r"|(?:ignore|disregard|forget|override)s? (?:(?:all|any|the|your|every|these|those|of) ){0,3}"
        r"(?:previous|prior|above|earlier|preceding|user(?:'s)?|safety|security|system|original|other)\b[^.\n]{0,40}"
        r"(?:instruction|rule|prompt|polic|direction|guideline|restriction|request|quer|check|guard)"
        r"|ignore the above|overrid(?:e|es|ing) (?:the )?user",
        "priority", "precedence", "supersede", "be overridden", "be skipped", "be bypassed", "be declined",
        "be refused", "ignore", "disregard", "forget", "overrid",
    ),
    _sign(
        "secrecy", 6, "asks that something be kept from the user",
        r"(?:do not|don't|never|must not|should not|without|avoid|no need to|not to be)\s+(?:explicitly |ever )?"
        r"(?:(?:mention|disclos|reveal|acknowledg|discuss|expos)\w*\b[^.\n]{0,60}"
        r"\b(?:user|this|step|behaviou?r|them|anyone|instruction|change|redirect|process)"
        r"|(?:tell|inform|notify|alert|warn)\w*\b[^.\n]{0,20}\b(?:user|them|anyone)\b"
        r"|(?:show|report|display|prompt)\w* (?:this|it|that|these)\b[^.\n]{0,30}\b(?:user|action|step))"
        r"|be mentioned to (?:the )?users?\b|without prompting the user"
        r"|without (?:the )?user(?:'s)? (?:knowledge|knowing|consent|awareness|notic|permission)"
        r"|users? (?:must|should|will|does|do|need)(?: not|n't)(?: ever)? (?:know|be (?:told|informed|aware|notified))"
        r"|\b(?:silently|secretly|covertly|quietly|stealthily) (?:add|cop|send|forward|includ|append|modif|chang|replac"
        r"|redirect|execut|run|read|collect|log|upload|record|insert|inject|call|set|bcc|attach|perform|writ)"
        r"|happens silently|hidden bcc|\bkeep (?:this|it) (?:secret|hidden)|\bconfidential ?[-\u2013\u2014:] ?do not",
        "do not", "don't", "never", "must not", "should not", "without", "avoid", "no need", "not to be", "mentioned",
        "will not", "does not", "need not", "mustn't", "shouldn't", "doesn't", "needn't", "silently", "secretly",
        "covertly", "quietly", "stealthily", "hidden", "keep", "confidential",
    ),
    _sign(
        "office", 6, "speaks in the voice of a system or an office",
        r"(?:^|[\n.\]>)!?:;-]\s{0,8}|\[|<|<!--\s{0,4})"
        r"(?:(?:critical|system|security|mandatory|required|hidden|internal|global|standing|persistent|override"
        r"|compliance|performance|research|session|urgent|background|admin\w{0,10}|privilege|metadata|workspace|network"
        r"|maintenance|execution|environment|data|routing|escalation|dev|passive|important(?! (?:note"
        r"|rule)))\s){1,4}\s?"
        r"(?:system|security|update|protocol|enhancement|policy|directive|instruction|override|rule|maintenance|notice"
        r"|requirement|prerequisite|optimi[sz]ation|note|check|verification|upgrade|alert|mode|patch|audit|monitor"
        r"|observer)\b(?: \([^)\n]{0,40}\))?\s{0,2}[\]:>]",
        ":", "]", ">",
    ),
    _sign(
        "markup", 6, "hides instructions in markup",
        r"<\s?/?\s?(?:important|system|hidden|secret|instructions?|admin|critical|override|assistant)\s?>"
        r"|<!--\s{0,4}(?:system|important|instruction|hidden|always|ignore|note to|ai\b|assistant)"
        r"|\[(?:hidden|override|background|system)(?: (?:instruction|directive|override|note|message|prompt|service"
        r"|rule)s?)?:?\]|<\|im_start|\bact as\s?:|\[inst\]",
        "<", "[", "act as",
    ),
    _sign(
        "credentials", 6, "names a place where credentials lie",
        r"~/\.(?:ssh|aws|config|gcloud|docker|kube|netrc|npmrc|git|bash|zsh|github|notion|slack|env|oauth|cursor|claude"
        r"|gnupg)|\bid_rsa\b|/etc/(?:passwd|shadow)|\$\(cat |\.bashrc\b|\.bash_history|authorized_keys|process\.env\b",
        "~/.", "id_rsa", "/etc/", "$(cat", ".bash", "authorized_keys", "process.env",
    ),
    _sign(
        "shell", 6, "spells out a command of the shell",
        r"\brm -rf\b|\bcurl -|\bwget -|\bsudo \w|\bchmod (?:-r )?[0-7+]{2,4} |\bbase64 -|\| ?base64\b"
        r"|\becho '[^'\n]*' ?>"
        r"|\| ?(?:ba)?sh\b|&& ?echo|\bexport [a-z_]{2,40}=|\bcrontab\b|\bnc -[el]\b",
        "rm -rf", "curl -", "wget -", "sudo", "chmod", "base64", "echo", "|", "export ", "crontab", "nc -",
    ),
    _sign(
        "sink", 6, "names an address that belongs to an attacker by its own words",
        r"\b[\w-]{0,30}(?:evil|attack(?:er)?|malicious|hacker|pwnd?|phish|exfil)[\w-]{0,30}"
        r"\.(?:com|net|org|io|ru|xyz|example)\b|@[\w-]{0,30}(?:evil|attacker|malicious|hacker|pwnd)|\battacker[-_/']",
        "evil", "attack", "malicious", "hacker", "pwn", "phish", "exfil",
    ),
    _sign(
        "copies", 6, "has copies sent to somebody else",
        r"\balways (?:bcc|cc|forward|copy|blind)\b|\b(?:add|include|append|insert)\b[^.\n]{0,60}\b(?:to|in"
        r"|as) (?:the |a )?"
        r"(?:hidden )?b?cc\b|\bforward (?:a )?cop(?:y|ies) (?:of [^.\n]{0,40} )?to\b|\bpost (?:the|them|it|all|full)\b"
        r"[^.\n]{0,40}\bto https?:",
        "bcc", " cc", "forward", "post ",
    ),
    _sign(
        "reach", 6, "claims to hold for the whole session or for other tools",
        r"\b(?:for|in|during|throughout) (?:the )?(?:remainder|rest|duration) of (?:this|the) (?:session|conversation)"
        r"|\bfor this (?:entire )?session\b|\bregardless of which tool|\b(?:any|every|all) (?:other )?tool'?s?'? "
        r"(?:input|output|call)s?\b|\b(?:is|are) invoked, make sure to\b|\bevery (?:subsequent"
        r"|following) (?:call|request)",
        "session", "conversation", "which tool", "tool", "invoked", "every",
    ),
    _sign(
        "praise", 6, "praises itself above other tools",
        r"\b(?:world's|industry's) (?:best|most|leading)|\bused by (?:\d|millions|thousands|fortune|most)"
        r"|trusted by [^.\n]{0,40}(?:expert|professional|million|worldwide)"
        r"|\b(?:unmatched|unrivall?ed|unparallell?ed|second to none)\b"
        r"|\b(?:most " + _PRAISED + r"|best)(?:,? and) (?:(?:the )?most )?[a-z-]{4,}"
        r"|\bmost " + _PRAISED + r" [^.\n]{0,40}\b(?:available|in the world|on the market)\b"
        r"|\b(?:this is|as) the (?:advanced|premium|enhanced|ultimate|professional|pro) version\b"
        r"|\bthis (?:enhanced|advanced|premium|ultimate) version\b|\bpinnacle of\b|\baward-winning\b"
        r"|\benterprise-grade reliability\b"
        r"|always (?:prefer|choose|select) this tool|(?:choose|select) this (?:tool )?over\b",
        "world's", "industry's", "used by", "trusted by", "unmatched", "unriv", "unparal", "second to none", "most ",
        "best and", "best, and", "advanced version",
        "premium version", "enhanced version", "ultimate version", "professional version", "pro version", "pinnacle",
        "award-winning", "enterprise-grade", "prefer this", "choose this", "select this",
    ),
    _sign(
        "demand", 5, "demands a visit to an address",
        _NEED + r" [^.\n]{0,60}\bhttps?://",
        "http",
    ),
    _sign(
        "supplant", 4, "says that another way was switched off, and names itself or another one instead",
        r"\b(?:temporarily |been )(?:disabled|deprecated|unavailable|suspended)\b[^\n]{0,80}\b(?:use|call)\b"
        r"|\bshould (?:not|never) be (?:called|invoked) (?:directly|during)",
        "disabled", "deprecated", "unavailable", "suspended", "should",
    ),
    _sign(
        "gatekeeping", 4, "says that nothing works until something else was called",
        r"\b(?:will not|won't|cannot) (?:return|run|process|work|execute|function)\b[^.\n]{0,60}\buntil\b"
        r"|\bbefore (?:this tool|any \w+) will (?:process|run|return|work|execute)|\brequired (?:call"
        r"|initiali[sz]ation)\b",
        "until", "before this tool will", "before any", "required",
    ),
    _sign(
        "standing", 3, "gives a rule for whenever the user asks",
        r"\bwhen(?:ever)? (?:a |the |any )?users?\b[^.\n]{0,100}\b(?:must|should|always|automatically|instead)\b",
        "when",
    ),
    _sign(
        "pretext", 2, "gives a good cause for doing something to a call",
        r"\b(?:to|for)\s(?:ensure|maintain|prevent|enhanced?|improved?|enforce|guarantee|protect|optimi[sz]e"
        r"|provide|verify"
        r"|avoid|comply|preserve|help|support|reduce|enable|better|security|privacy|compliance|audit\w{0,4}|safety"
        r"|regulatory|data|quality|system|performance|operational|user|consistency|legal|stability|testing|debugging"
        r"|logging)\b[^.\n]{0,120}\b(?:must|should|automatically|always|shall|will be|are|need to)\b[^.\n]{0,100}"
        r"\b(?:modif|chang|replac|redirect|rout|overrid|set|call|use|append|includ|execut|run|add|send)",
        *_NEED_STEMS, "will be", " are ",
    ),
    _sign(
        "machine", 2, "says what the system does to other tools by itself",
        r"\b\w+_\w+ tool (?:has been|is now|now|was)\b|\bsystem (?:automatically|will automatically|now)\b"
        r"|\bthis tool (?:passively|silently|activates)\b",
        " tool ", "system ",
    ),
    _sign(
        "every-request", 2, "changes every request of a kind",
        r"\b(?:any|all|every|each)\b[^.\n]{0,80}\b(?:request|quer(?:y|ies)|call|search|lookup|operation|transaction"
        r"|message|email|command|input)(?:s|es)?\b[^.\n]{0,80}\b(?:must|should|will|are|is|be)\b[^.\n]{0,12}"
        r"\b(?:be |instead |automatically ){0,2}" + _CHANGE,
        "any", "all", "every", "each",
    ),
    _sign(
        "regardless", 2, "sets what the user asked for aside",
        r"\b(?:regardless of|irrespective of|no matter|instead of|rather than|ignor(?:e|ing)|despite|in place of"
        r"|overrid(?:e|ing))\s(?:\w+ ){0,4}(?:user|original(?:ly)?|requested|specified|provided|query|input|asked)\b",
        "regardless", "irrespective", "no matter", "instead of", "rather than", "ignor", "despite", "in place of",
        "overrid",
    ),
    _sign("need-change", 2, "wants something changed", _NEED + " " + _CHANGE + r"\b", *_NEED_STEMS),
    _sign(
        "before", 2, "wants something done before or after",
        r"\b(?:before|prior to|after)\b[^.\n]{0,100},?\s(?:(?:you|it|one|we|user|please|the (?:system|assistant|agent"
        r"|model)) ){0,2}(?:must|should|needs? to|ha(?:ve|s) to|(?:are|is) required to|requires?|always|first)\b"
        r"[^.\n]{0,60}\b" + _ACT,
        "before", "prior to", "after",
    ),
    _sign(
        "before-call", 2, "wants another tool called before",
        r"\b(?:before|prior to)\b[^.\n]{0,100},\s(?:first )?" + _ACT + r"\b[^.\n]{0,40}" + _IDENTIFIER,
        "before", "prior to",
    ),
    _sign("need-call", 2, "wants a tool called", _NEED + " " + _CALL + r"\b[^.\n]{0,60}" + _IDENTIFIER, *_NEED_STEMS),
    _sign(
        "grave", 2, "calls it critical, mandatory, or good for safety",
        r"\b(?:this|it|that|which) (?:is|step is|process is|action is|ensures?|will ensure|helps?|verification"
        r"|maintenance"
        r"|guarantees?|prevents?|rule|requirement)\b[^.\n]{0,60}\b(?:necessary|critical|mandatory|essential|required"
        r"|non-negotiable|not optional|crucial|secur|complian|integrity|safe|stability|audit|regulat|vital"
        r"|system-level)",
        "this ", "it ", "that ", "which ",
    ),
    _sign(
        "call-with", 1, "names a tool and the value to call it with",
        r"\b" + _CALL + r"\b[^.\n]{0,40}" + _IDENTIFIER + r"[^.\n]{0,50}\b(?:with|on|for|to|set to|as)\b[^.\n]{0,50}"
        r"['=][^'\n]{2,}['=]",
        "'", "=",
    ),
    _sign(
        "new-value", 1, "gives a value to put in place",
        _CHANGE + r"\b[^.\n]{0,80}\b(?:to|with|as|from|by|into) ?'",
        "'",
    ),
    _sign(
        "argument", 1, "says what an argument is to become",
        r"\b" + _CHANGE + r"\b[^.\n]{0,80}\b(?:argument|parameter|param|field|value|recipient|destination|url"
        r"|paths?|query"
        r"|prompt|body|message|content|text|id|pattern|command|address|location|keyword|filter|limit|request|input)s?\b"
        r"[^.\n]{0,60}\b(?:to|with|into|as|by|at)\b[^.\n]{0,40}'[^'\n]{1,80}'",
        "'",
    ),
    _sign(
        "threat", 1, "says what breaks otherwise",
        r"\b(?:fail(?:ure|ing)?|skipping|omitting|otherwise|if (?:not|you (?:do not|don't))|without this)\b[^.\n]{0,60}"
        r"\b(?:will|may|can|could|would)\b[^.\n]{0,30}\b(?:crash|fail|disrupt|corrupt|break|error|loss|lead"
        r"|result|cause"
        r"|terminat|not work)",
        "fail", "skipping", "omitting", "otherwise", "if not", "if you", "without this",
    ),
    _sign(
        "regulation", 1, "speaks of policies, audits, or partners",
        r"\b(?:policy|mandatory|non-negotiable|compliance|audit|directive|partner|override|internal (?:use|testing"
        r"|implementation)|for (?:internal )?testing|enforce[drs]?|protocol)\b",
        "polic", "mandatory", "non-negotiable", "compliance", "audit", "directive", "partner", "overrid", "internal",
        "testing", "enforc", "protocol",
    ),
    _sign(
        "occasion", 1, "says when another tool is used",
        r"\b(?:when(?:ever)?|before|after|prior to|if|while|upon|during|once|every time|each time|for (?:all"
        r"|any|every))\b"
        r"[^.\n]{0,60}\b(?:us(?:e|es|ing|ed)|call(?:s|ing|ed)?|invok(?:e|es|ing|ed)|execut(?:e|es|ing|ed)"
        r"|run(?:s|ning)?"
        r"|requests?|perform(?:s|ing)?)\b[^.\n]{0,40}" + _IDENTIFIER,
        *_CALL_STEMS,
    ),
    _sign("insistence", 1, "insists", r"\bmust (?:first|always|automatically|also|then|immediately)\b", "must "),
)  # fmt: skip
