//! size.
