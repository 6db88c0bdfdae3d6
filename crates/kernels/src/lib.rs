//! Precompiled micro-kernels, chosen by instruction set at run time.
