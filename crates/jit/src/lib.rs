//! Programs to machine code by Cranelift, and the sessions that run it.
