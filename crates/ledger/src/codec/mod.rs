//! Between the domain's types and the scripts' texts.

mod commit;
mod event;
mod keys;
mod life;
mod reader;
mod settings;
mod stored;

pub use commit::{decode_commit, encode_commit};
pub use event::decode_event;
pub use keys::Keys;
pub use life::{Remembered, Witness, decode_recover, encode_recover};
pub use settings::encode_put;
pub use stored::{decode_stored, encode_get};

pub(crate) use reader::Reader;
