"""The command line, for a desk without a cluster.

* ``commandline``  what the program does when a person calls it
* ``arguments``    the options, and what is wrong with them
* ``manifest``     the compression of an EdgeModel's YAML file
* ``table``        the candidates as a table
* ``outfolder``    where the result lies
"""
