//! Compiles `proto/` without protoc; the descriptor set also feeds reflection.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    let files = ["bursar/v1/permits.proto", "bursar/v1/budgets.proto"];
    println!("cargo:rerun-if-changed={}", root.display());
    let set = protox::compile(files, [&root])?;
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin"), set.encode_to_vec())?;
    let builder = tonic_prost_build::configure().bytes(".bursar.v1").btree_map(".bursar.v1");
    builder.codec_path("crate::codec::FrugalCodec").compile_fds(set)?;
    Ok(())
}
