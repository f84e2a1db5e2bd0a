"""Plain registry HTTP: references, credentials, tokens, manifests and blobs."""
