//! Data sets, batches, the training loop, weight files and metrics.
