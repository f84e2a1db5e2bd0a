"""Who may send requests.

* ``keys``      API keys and their rates
* ``tls``       certificates, read again when they change
* ``watching``  notices when the files of a folder change
"""
