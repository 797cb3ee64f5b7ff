"""Model providers: one file for each wire format, and what looks them up and prices them.

Provider errors become ours here, once, at the edge; nothing here retries, counts money or knows the
engine.  No message or ``repr`` made here repeats a prompt or a key.

What all models behind an HTTP interface do stands in ``exchange.py``.  A new provider is a class with its
arguments, an ``Interface`` and an ``Sdk`` (two tables), a ``..._wire.py`` that writes requests and reads
answers, and a ``..._stream.py`` that puts streamed ones together.
"""
