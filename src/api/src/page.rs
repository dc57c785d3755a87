//! Pages of lists, numbered from 0 (`semantics.md` section f).

/// A page, or the whole list.
#[derive(Debug, PartialEq, Eq)]
pub struct Paged<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Which page, if one was asked for.
    pub page: Option<u64>,
    /// The last page's number.
    pub page_total: u64,
}

/// The page that was asked for, or the whole list.
pub fn page<T>(all: Vec<T>, page: Option<u32>, size: usize) -> Paged<T> {
    let page_total = (all.len().saturating_sub(1) / size) as u64;
    let Some(number) = page else { return Paged { items: all, page: None, page_total } };
    let items = all.into_iter().skip((number as usize).saturating_mul(size)).take(size).collect();
    Paged { items, page: Some(number.into()), page_total }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_page_is_counted_from_zero() {
        assert_eq!(page(vec![0; 10], Some(1), 5).page_total, 1);
        assert_eq!(page(vec![0; 11], Some(2), 5), Paged { items: vec![0], page: Some(2), page_total: 2 });
        assert_eq!(page(Vec::<u8>::new(), Some(0), 5), Paged { items: vec![], page: Some(0), page_total: 0 });
        assert_eq!(page(vec![1, 2], None, 1), Paged { items: vec![1, 2], page: None, page_total: 1 });
        assert!(page(vec![1], Some(u32::MAX), 5).items.is_empty());
    }
}
