//! Where a connection does not go through the operating system: a test's network, in its own time.

use std::{fmt, io};

use bursar_quota::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection that was opened.
pub type Dialled = Box<dyn Stream>;

/// Opens connections.
pub trait Dial: fmt::Debug + Send + Sync + 'static {
    /// Connects to a server. Dropping the future gives it up.
    fn dial(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Dialled>>;
}
