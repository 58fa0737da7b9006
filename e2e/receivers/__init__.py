"""Small receivers that run on the bed: an OTLP/HTTP trace receiver and a CloudEvents sink."""
