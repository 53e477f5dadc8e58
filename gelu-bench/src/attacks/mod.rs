//! The security laboratory: attacks on this system, undefended and defended.
