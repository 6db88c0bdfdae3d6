//! The Kiln language: text to syntax tree to graph, diagnostics, formatter.
