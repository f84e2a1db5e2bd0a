"""The Kubernetes API.

* ``client``  the only import of the Kubernetes client: read, apply, delete, record events
* ``cache``   what the watches have shown
"""
