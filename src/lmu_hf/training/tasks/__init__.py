"""One file per kind of data: where rows come from, how a row becomes tensors, which metric judges it."""
