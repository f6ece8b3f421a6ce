//! Numbers of the byte streams within a stream.

/// Input of a command, content of a file, either direction of a connection.
pub const MAIN: u8 = 0;
/// Output of a command.
pub const STDOUT: u8 = 1;
/// Error output of a command.
pub const STDERR: u8 = 2;
