//! Another process takes this one's place: membership is held still while it reads it, and is its own afterwards.
//!
//! What outlives a process is written down or runs: the state file, containers. Two processes must not both change those, so
//! from the moment the successor starts this one changes nothing: whoever asks is told to ask again, the state file is not
//! written, replicas that die are replaced by the successor. How it fails: where the successor does not come, everything
//! that was put off is done.

use lb_core::fact::Fact;

use super::Control;
use crate::event::Upgrade;

impl Control {
    /// How far the successor has come; true where others must see a change.
    pub(super) fn upgraded(&mut self, upgrade: Upgrade) -> bool {
        match upgrade {
            Upgrade::Begins(asker) => {
                self.save_changes();
                let answer = if self.supply.is_asked() {
                    Err("members are just being added or removed: try again".to_owned())
                } else {
                    self.held = true;
                    Ok(())
                };
                if asker.send(answer).is_err() {
                    // Nobody waits: there will be no successor.
                    self.held = false;
                }
            }
            Upgrade::Failed(reason) => {
                self.held = false;
                // It may have written the file in the meantime.
                self.unsaved = true;
                self.tell(Fact::UpgradeFailed { reason });
            }
            Upgrade::Done => {
                if let Some(provider) = self.supply.provider() {
                    provider.release();
                }
            }
        }
        false
    }

    /// Writes the state file where it is due.
    pub(super) fn save_changes(&mut self) {
        if !self.held && std::mem::take(&mut self.unsaved) {
            self.save();
        }
    }
}
