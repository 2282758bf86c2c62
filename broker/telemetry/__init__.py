"""What others watch: traces of requests, and numbers.  Off until asked for, and no word of a message leaves by it.

spans      what the receipts of one link say, as spans (pure)
numbers    counts and times of a daemon, and the text Prometheus reads (pure)
setting    what the OTEL_* variables ask for (pure)
export     sends both by OTLP; needs the extra `otel`
shipping   receipts to a collector, from where the last daemon stopped
scrape     `/metrics` and `/healthz` on loopback
watching   all of it, as the daemon holds it
"""
