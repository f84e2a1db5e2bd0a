"""The Kubernetes API.

* ``client``  the only import of the Kubernetes client: read, apply, delete, record events
* ``kinds``   the kinds of object, and what the operator does with each
* ``cache``   what the watches have shown
"""
