"""Attacks on the real inference server, over real sockets: ``make abuse``, and a bounded run of it in ``make test``.

Nothing here knows how the server is built. Each attack runs beside other clients (``neighbours``), and after it the
answers, the server's memory, its log and the others' waits are judged (``watch``). The long run holds the waits to the
figures that are promised; the short one, which shares its machine with other tests, to wider ones that a stall still
breaks.
"""
