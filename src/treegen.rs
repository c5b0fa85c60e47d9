//! treegen.
