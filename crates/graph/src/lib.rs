//! The high IR: a dataflow graph of operators, with text, verifier and a 64-bit reference evaluator.
