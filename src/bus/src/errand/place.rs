//! Something done to the records, wherever they are.

use std::error::Error;
use std::path::Path;

use culvert_model::HostId;
use culvert_wire::errand::Place;

use crate::store::Store;
use crate::store::embedded::Embedded;
use crate::store::mongo::Mongo;
use crate::transfer::file;

/// What is done.
pub trait Deed {
    /// Does it. Gives the text that it ends with.
    async fn to<S: Store>(self, store: S) -> Result<String, Box<dyn Error>>;
}

/// Opens the store and does it; whoever only looks makes nothing there. The embedded store may be open elsewhere.
///
/// # Errors
///
/// There is no store, it cannot be opened, or the deed failed.
pub async fn with(folder: &Path, place: Place, looks: bool, deed: impl Deed) -> Result<String, Box<dyn Error>> {
    match place {
        Place::Embedded => {
            let path = file::store(folder);
            if !path.exists() {
                return Err(format!("there is no store at {}: nothing was ever kept here", path.display()).into());
            }
            deed.to(Embedded::open(&path, HostId::new())?).await
        }
        Place::Mongo(uri) if looks => deed.to(Mongo::look(&uri, HostId::new()).await?).await,
        Place::Mongo(uri) => deed.to(Mongo::connect(&uri, HostId::new()).await?).await,
    }
}
