//! The wire contract, generated from `proto/bursar/v1`, and how its messages are buffered. Nothing else lives here.

mod codec;

/// `bursar.v1`.
#[allow(
    rustdoc::invalid_html_tags,
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
pub mod v1 {
    tonic::include_proto!("bursar.v1");
}

/// The encoded descriptor set of everything above, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
