//! The compiler passes, one file each, and the two pipelines that order them.
