//! Server and client of the gelu protocol over TLS 1.3.
