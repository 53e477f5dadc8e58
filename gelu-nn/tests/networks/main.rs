//! Networks in whole sessions and beside their references: one binary, since each that is linked takes as
//! long as many tests.

mod blind;
mod common;
mod frozen;
mod golden;
mod layouts;
mod oracle;
mod references;
mod server_view;
