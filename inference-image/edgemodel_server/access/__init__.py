"""Who may send requests, and how much each may hold of the server.

* ``budget``    memory, requests in work, decoding and connections, each client's share of them
* ``keys``      API keys and their rates
* ``tls``       certificates, read again when they change
* ``watching``  notices when the files of a folder change
"""
