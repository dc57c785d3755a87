//! Reading many records without holding all of them.

use std::marker::PhantomData;

use culvert_model::Record;

use crate::{Bus, Failure, Query, Stored};

/// The pages of a query, as the store has them: what the bus remembers of an outage's beginning is no ground to act on.
#[derive(Debug)]
pub struct Pages<'a, T> {
    bus: &'a Bus,
    rest: Option<Query>,
    kind: PhantomData<fn() -> T>,
}

impl Bus {
    /// The pages of a query, from the first one on.
    pub fn pages<T: Record>(&self, query: Query) -> Pages<'_, T> {
        Pages { bus: self, rest: Some(query), kind: PhantomData }
    }
}

impl<T: Record> Pages<'_, T> {
    /// The next page; nothing behind the last one.
    ///
    /// # Errors
    ///
    /// The store can't be reached.
    pub async fn next(&mut self) -> Result<Option<Vec<Stored<T>>>, Failure> {
        let Some(query) = self.rest.take() else { return Ok(None) };
        let page = self.bus.find::<T>(query.clone()).await?;
        if page.cached {
            return Err(Failure::Unavailable);
        }
        self.rest = page.next.map(|next| query.after(Some(next)));
        Ok(Some(page.items))
    }
}
