"""A static site of a board folder: pages that open from a file, without a server and without JavaScript if need be."""
