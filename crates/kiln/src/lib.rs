//! Kiln: a static computation-graph compiler for deep learning. The public interface.
