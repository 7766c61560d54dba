"""Speech corpora, one module each: the file name is the name (`asr prepare common-voice` is common_voice.py).

A module holds a docstring (language, hours, licence, citation, metric) and `prepare(raw, *, …)`, which yields rows and
problems (`signwave.prepare`).
"""
