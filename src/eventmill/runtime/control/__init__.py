"""Control: what is asked on one node and concerns all of them, and how all of them are doing."""
