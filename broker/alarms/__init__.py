"""What a person should hear of without having looked, and how the daemon does.

rules    when an alert is due, and who is told: a document a person agreed to
book     the alerts there were, and their news
memory   what the processes of a server use
vitals   answers, errors, denials, holds and memory of the last minutes
webhook  one address that hears of alerts, judged before it is dialled
telling  passes each alert on: the desktop, the webhook
"""
