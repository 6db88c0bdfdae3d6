//! The low IR: programs of buffers and loop-nest kernels, with text, verifier and interpreter.
