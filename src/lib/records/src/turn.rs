//! Choosing what nobody else has, after a look at many records.

use culvert_model::Record;

use crate::{Bus, Failure, Write, insert, update};

impl Bus {
    /// The write that makes sure of a choice, of whoever asks for it first, then looks at what the others have, and makes
    /// it in one batch with what was chosen: it is refused if anybody did so since. `T` has one record, which stands for
    /// all that is chosen in this way.
    ///
    /// # Errors
    ///
    /// The store can't be reached.
    pub async fn turn<T: Record + Default>(&self) -> Result<Write, Failure> {
        let only = T::default();
        Ok(match self.get::<T>(only.id()).await? {
            Some(stored) => update(&stored.record, stored.unchanged()),
            None => insert(&only),
        })
    }
}
