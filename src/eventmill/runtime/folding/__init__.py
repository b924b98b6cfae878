"""Folding: entries into rows, in the commit of the offset; views and transforms do so."""
