"""Tables of any size, answered or encoded range by range, on this machine or on many."""
