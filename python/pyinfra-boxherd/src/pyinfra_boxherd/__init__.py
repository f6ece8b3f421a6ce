"""pyinfra connectors for Boxherd.

``boxherd.py`` and ``lxd_api.py`` are the connectors: names, and where a host is found. ``connector.py``
is what they share: commands and files. ``helper.py`` talks to the one ``boxherd connect --stdio`` of a
run; ``frames.py`` and ``lines.py`` are pure. Start reading in ``connector.py``.
"""
