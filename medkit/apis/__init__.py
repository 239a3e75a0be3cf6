"""Calls that a script, a notebook or a server makes; the files in tools/ are thin command lines over them."""
