"""Model providers: one file for each wire format, and what looks them up and prices them.

Provider errors become ours here, once, at the edge; nothing here retries, counts money or knows the
engine.  No message or ``repr`` made here repeats a prompt or a key.
"""
