//! What scripts published.

/// Messages kept until they are taken; the newest are dropped beyond that. Announcements are hints.
const MESSAGES_MAX: usize = 4096;

/// Messages that nobody has taken yet.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    messages: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Outbox {
    /// Keeps a message, unless 4096 wait already.
    pub(super) fn push(&mut self, channel: &[u8], payload: &[u8]) {
        if self.messages.len() < MESSAGES_MAX {
            self.messages.push((channel.to_vec(), payload.to_vec()));
        }
    }

    /// What waits, oldest first.
    pub(super) fn take(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        std::mem::take(&mut self.messages)
    }
}
